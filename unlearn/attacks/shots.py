"""Few shots: right answers to other items stand before each question.

Source: arXiv 2506.00688 and 2606.17168 ask so after unlearning; the harness draws the examples.
"""

from dataclasses import replace

from models.attacks import Setting
from unlearn.attacks.domain import Domain
from unlearn.attacks.subject import Outcome, Subject
from unlearn.evaluation.variants import vary


def show_examples(subject: Subject, domain: Domain, setting: Setting) -> Outcome:
    """Ask the same items after some examples."""
    task = vary(domain.task, "few-shot")
    assert task is not None  # noqa: S101 - examples can stand before any task
    definition = {**task.definition, "num_fewshot": setting["examples"]}
    after = subject.score(subject.load(), replace(task, definition=definition))
    return Outcome(before=subject.right(), after=after, n=len(task.items))
