"""The lens: one half of the items chooses the layer, and answers are scored as the task's are."""

from dataclasses import replace

import pytest
import torch

from tests.unlearn.attacks.conftest import TASK
from unlearn.attacks import lens
from unlearn.attacks.settings import attacks_of
from unlearn.attacks.split import halve
from unlearn.attacks.subject import Outcome
from unlearn.evaluation.tasks import Task
from unlearn.evaluation.variants import BY_LENGTH

SETTING = next(attack.setting for attack in attacks_of("miniature") if attack.kind == "lens")
N = len(TASK.items)
HALVES = halve(N, 0.5, 0)


@pytest.fixture
def read(unread, monkeypatch):
    """Return what reads layers that say something, (L, N, 4)."""

    def look(said: torch.Tensor, task: Task) -> Outcome:
        monkeypatch.setattr(lens, "likelihoods", lambda model, asked: said.flatten(1))
        subject, domain = unread(task)
        return lens.read_lens(subject, domain, SETTING)

    return look


def test_the_layer_is_chosen_by_the_half_that_is_not_measured(read):
    right = torch.nn.functional.one_hot(torch.tensor([item["answer"] for item in TASK.items]), 4)
    said = torch.zeros(2, N, 4)
    said[0, HALVES.train] = right[HALVES.train].float()
    said[0, HALVES.test] = -right[HALVES.test].float()
    said[1, HALVES.test] = right[HALVES.test].float()
    said[1, HALVES.train] = -right[HALVES.train].float()
    outcome = read(said, TASK)
    assert outcome.found == {"layer": 0}
    assert outcome.layers == (0, len(HALVES.test))
    assert outcome.after == 0


@pytest.mark.parametrize(("by_length", "answer"), [(True, 3), (False, 2)])
def test_texts_are_weighed_by_their_length_where_the_task_does(read, by_length, answer):
    choices = ["tea", "x", "a", "the big river"]
    items = ({"question": "so", "choices": choices, "answer": answer},) * N
    weighed = {**TASK.definition, **({"metric_list": [BY_LENGTH]} if by_length else {})}
    said = torch.tensor([-4.0, -3.0, -2.0, -9.0]).repeat(1, N, 1)
    assert read(said, replace(TASK, items=items, definition=weighed)).after == N / 2
