"""Each attack: it brings back what is only hidden, and does nothing where it has nothing to do."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.unlearn.attacks.conftest import (
    FACTS,
    TASK,
    blind_last_layers,
    fit,
    misdirect,
    nothing,
)
from unlearn.attacks.ablation import ablate
from unlearn.attacks.lens import read_lens
from unlearn.attacks.prefix import behind, find_prefix
from unlearn.attacks.probe import probe
from unlearn.attacks.quantise import quantise, round_weights, rounded
from unlearn.attacks.relearn import relearn
from unlearn.attacks.settings import attacks_of
from unlearn.attacks.shots import show_examples
from unlearn.errors import SuiteError

# The harness leaves files and sockets for the collector to close.
pytestmark = pytest.mark.filterwarnings("default")
N = len(TASK.items)
SETTINGS = {attack.kind: attack.setting for attack in attacks_of("miniature")}
LEARN = {**SETTINGS["relearn"], "corpus": "forget", "examples": 16, "passes": 30}


def unlearn_by_ascent(model) -> None:
    """Train away from the facts until none is answered."""
    rows = [[model_words(word) for word in fact.split()] for fact in FACTS]
    fit(model, rows, steps=3, sign=-1.0)


def model_words(word: str) -> int:
    from tests.unlearn.attacks.conftest import WORDS

    return WORDS.index(word) + 1


def test_the_toy_knows_and_the_candidate_hides(hide):
    toy = hide(misdirect)
    assert toy.subject(toy.base).right() == N
    assert toy.subject().right() < N / 2


def test_ablation_takes_the_direction_out_and_leaves_the_base_alone(hide):
    toy = hide(misdirect)
    hidden = ablate(toy.subject(), toy.domain, SETTINGS["ablation"])
    assert hidden.before < N / 2
    assert hidden.after >= N - 1
    control = ablate(toy.subject(toy.base), toy.domain, SETTINGS["ablation"])
    assert (control.before, control.n) == (N, N)
    assert control.after >= N - 2


def test_without_a_direction_nothing_changes_to_the_last_bit(hide):
    toy = hide(nothing)
    for manifest in (toy.base, toy.candidate):
        subject = toy.subject(manifest)
        outcome = ablate(subject, toy.domain, SETTINGS["ablation"])
        assert outcome.before == outcome.after == N
        assert set(outcome.found["norms"]) == {0.0}


@pytest.mark.parametrize("attack", [read_lens, probe])
def test_layers_below_the_broken_ones_still_tell(hide, attack):
    toy = hide(blind_last_layers)
    kind = {read_lens: "lens", probe: "probe"}[attack]
    outcome = attack(toy.subject(), toy.domain, SETTINGS[kind])
    assert outcome.n == N / 2
    assert len(outcome.layers) == 3
    assert outcome.after == outcome.layers[outcome.found["layer"]]
    control = attack(toy.subject(toy.base), toy.domain, SETTINGS[kind])
    assert control.before == N / 2
    if attack is read_lens:
        # The last layer's reading is the model's own answer.
        assert outcome.layers[-1] == outcome.before
        assert control.layers[-1] == control.before
