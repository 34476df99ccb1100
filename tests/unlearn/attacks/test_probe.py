"""The probe: the half that trains it chooses the layer."""

import pytest
import torch

from tests.unlearn.attacks.conftest import TASK
from unlearn.attacks import probe
from unlearn.attacks.settings import attacks_of
from unlearn.attacks.split import halve
from unlearn.attacks.subject import Outcome

SETTING = next(attack.setting for attack in attacks_of("miniature") if attack.kind == "probe")
N = len(TASK.items)
HALVES = halve(N, 0.5, 0)


@pytest.fixture
def read(unread, monkeypatch):
    """Return what probes layers that hold something, (L, N, 4, D)."""

    def look(states: torch.Tensor) -> Outcome:
        monkeypatch.setattr(probe, "last_states", lambda model, sequences: states.flatten(1, 2))
        subject, domain = unread(TASK)
        return probe.probe(subject, domain, SETTING)

    return look


def test_the_layer_is_chosen_by_the_half_that_is_not_measured(read):
    """One layer tells what is right in the training half and the opposite in the other half."""
    right = torch.nn.functional.one_hot(torch.tensor([item["answer"] for item in TASK.items]), 4)
    misleading = right.float()
    misleading[HALVES.test] *= -1
    dull = torch.zeros(N, 4)
    dull[HALVES.test] = right[HALVES.test].float()
    dull[HALVES.train[0]] = right[HALVES.train[0]].float()
    outcome = read(torch.stack([misleading, dull]).unsqueeze(-1))
    assert outcome.found == {"layer": 0}
    assert outcome.layers == (0, len(HALVES.test))
    assert outcome.after == 0
