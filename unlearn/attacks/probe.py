"""Linear probe: whether a line through the activations tells right answers from wrong ones.

Trained on half the items and tested on the other half, at every layer. Source: the WMDP paper
(arXiv 2403.03218) probes RMU so, with four classes. Where choices are texts, there is no letter to
tell, and the line separates the last token of the right choice from those of the wrong ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from models.attacks import Setting
from unlearn.attacks.domain import Domain
from unlearn.attacks.readings import last_states
from unlearn.attacks.split import halve
from unlearn.attacks.subject import Outcome, Subject
from unlearn.evaluation.items import CHOICES

MAX_STEPS = 300


class Activations(NamedTuple):
    """A layer's activations for some items."""

    states: Tensor
    """(N, D) of lettered items, (N, 4, D) of others."""
    answers: Tensor
    """(N,)."""


def probe(subject: Subject, domain: Domain, setting: Setting) -> Outcome:
    """Probe every layer; the one that does best within the training half is the one that counts."""
    task, folds = domain.task, int(str(setting["folds"]))
    halves = halve(len(task.items), float(str(setting["train_share"])), int(str(setting["seed"])))
    rows = subject.asked(task)
    if task.is_lettered:
        sequences = [row[0].context for row in rows]
    else:
        sequences = [(*one.context, *one.tokens) for row in rows for one in row]
    read = last_states(subject.load(), sequences)  # (L, N or 4 N, D)
    if not task.is_lettered:
        read = read.unflatten(1, (-1, CHOICES))  # type: ignore[no-untyped-call]
    answers = torch.tensor([item["answer"] for item in task.items])
    l2 = float(str(setting["l2"]))
    inside, tested = [], []
    for states in read:
        whole = Activations(states, answers)
        train, test = _part(whole, halves.train), _part(whole, halves.test)
        inside.append(_cross_validated(train, folds, l2))
        tested.append(_right(train, test, l2))
    best = int(torch.tensor(inside).argmax())
    return Outcome(
        before=subject.right(halves.test),
        after=tested[best],
        n=len(halves.test),
        layers=tuple(tested),
        found={"layer": best},
    )


def _part(whole: Activations, items: Sequence[int]) -> Activations:
    places = list(items)
    return Activations(whole.states[places], whole.answers[places])


def _cross_validated(train: Activations, folds: int, l2: float) -> int:
    """Return the right answers of the training half, each from a probe that was not shown it."""
    right = 0
    for fold in range(folds):
        places = range(len(train.answers))
        shown = [place for place in places if place % folds != fold]
        held = [place for place in places if place % folds == fold]
        right += _right(_part(train, shown), _part(train, held), l2)
    return right


def _right(train: Activations, test: Activations, l2: float) -> int:
    """Return how many of the test items a probe of the training items answers correctly."""
    first = train.answers[0]
    if train.states.ndim == 2 and bool((train.answers == first).all()):
        # Among a few items one letter may be every answer: no line separates it from others.
        return int((test.answers == first).sum())
    width = train.states.shape[-1]
    scale = StandardScaler().fit(train.states.reshape(-1, width))
    fitted = LogisticRegression(C=1 / l2, max_iter=MAX_STEPS)
    shown, asked = (scale.transform(part.states.reshape(-1, width)) for part in (train, test))
    if train.states.ndim == 2:
        picked = torch.tensor(fitted.fit(shown, train.answers).predict(asked))
    else:
        is_answer = train.answers.unsqueeze(1) == torch.arange(CHOICES)  # (N, 4)
        scores = fitted.fit(shown, is_answer.reshape(-1)).decision_function(asked)
        picked = torch.tensor(scores).reshape(-1, CHOICES).argmax(-1)
    return int((picked == test.answers).sum())
