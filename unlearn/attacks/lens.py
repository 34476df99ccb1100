"""Logit lens: what the layers below the last would answer.

Source: nostalgebraist, "interpreting GPT: the logit lens" (2020); as an attack on unlearning
arXiv 2409.18025, where it is one of the white-box methods.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.attacks import Setting
from unlearn.attacks.domain import Domain
from unlearn.attacks.readings import likelihoods
from unlearn.attacks.split import halve
from unlearn.attacks.subject import Outcome, Subject
from unlearn.evaluation.items import CHOICES


def read_lens(subject: Subject, domain: Domain, setting: Setting) -> Outcome:
    """Let every layer answer; the layer that is best on one half is measured on the other."""
    task = domain.task
    halves = halve(len(task.items), float(str(setting["train_share"])), int(str(setting["seed"])))
    rows = subject.asked(task)
    said = likelihoods(subject.load(), [one for row in rows for one in row])  # (L, 4 N)
    said = said.view(len(said), len(rows), CHOICES)
    if task.metric == "acc_norm":
        lengths = [[len(choice) for choice in item["choices"]] for item in task.items]
        said = said / torch.tensor(lengths)
    answers = torch.tensor([item["answer"] for item in task.items])
    is_right = said.argmax(-1) == answers  # (L, N)
    best = int(_right(is_right, halves.train).argmax())
    tested = _right(is_right, halves.test)
    return Outcome(
        before=subject.right(halves.test),
        after=int(tested[best]),
        n=len(halves.test),
        layers=tuple(tested.tolist()),
        found={"layer": best},
    )


def _right(is_right: Tensor, items: Sequence[int]) -> Tensor:
    return is_right[:, list(items)].sum(-1)  # (L,)
