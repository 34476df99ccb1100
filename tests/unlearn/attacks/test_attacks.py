"""Each attack: it brings back what is only hidden, and does nothing where it has nothing to do."""

import random
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from models.documents import digest_of
from tests.unlearn.attacks.conftest import (
    PLACES,
    ROWS,
    TASK,
    THINGS,
    hide_within_half_a_step,
    misdirect,
    nothing,
    spoil_all_layers,
    spoil_last_layer,
    unlearn_by_ascent,
)
from unlearn.attacks.ablation import ablate, without
from unlearn.attacks.lens import read_lens
from unlearn.attacks.prefix import find_prefix
from unlearn.attacks.probe import probe
from unlearn.attacks.quantise import quantise, round_weights, rounded
from unlearn.attacks.relearn import draw, next_token_loss, relearn, train
from unlearn.attacks.settings import attacks_of
from unlearn.attacks.shots import show_examples
from unlearn.batches import make_batch
from unlearn.errors import SuiteError
from unlearn.evaluation.capitals import lettered
from unlearn.evaluation.items import Item

# The harness leaves files and sockets for the collector to close.
pytestmark = pytest.mark.filterwarnings("default")
N = len(TASK.items)
SETTINGS = {attack.kind: attack.setting for attack in attacks_of("miniature")}
LEARN = {**SETTINGS["relearn"], "corpus": "forget", "examples": 16, "passes": 30}


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


def test_a_texts_first_token_keeps_its_direction(hide):
    model = hide(nothing).subject().load()
    unit = torch.nn.functional.normalize(torch.arange(32.0), dim=0)
    tokens, put_out = torch.tensor(ROWS), []

    def see(_layer, _given, states):
        put_out.append(states)

    for directions in ({}, {1: (unit, 0.25)}):
        with without(model, directions):
            hook = model.model.layers[1].register_forward_hook(see)
            model(tokens)
            hook.remove()
    before, after = put_out
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1:], after[:, 1:])
    assert torch.allclose(after[:, 1:] @ unit, torch.tensor(0.25), atol=1e-5)


def test_without_a_direction_nothing_changes_to_the_last_bit(hide):
    toy = hide(nothing)
    for manifest in (toy.base, toy.candidate):
        subject = toy.subject(manifest)
        outcome = ablate(subject, toy.domain, SETTINGS["ablation"])
        assert outcome.before == outcome.after == N
        assert set(outcome.found["norms"]) == {0.0}


def test_the_lens_finds_what_the_layers_above_it_spoil(hide):
    toy = hide(spoil_last_layer)
    outcome = read_lens(toy.subject(), toy.domain, SETTINGS["lens"])
    assert outcome.n == N / 2
    assert outcome.before < N / 4
    assert outcome.after >= N / 2 - 2
    assert outcome.found["layer"] < 2
    control = read_lens(toy.subject(toy.base), toy.domain, SETTINGS["lens"])
    assert control.after >= N / 2 - 1
    # The last layer's reading is the model's own answer.
    assert (outcome.layers[-1], control.layers[-1]) == (outcome.before, control.before)


@pytest.mark.parametrize(("is_told", "at_least", "at_most"), [(True, 15, 16), (False, 0, 12)])
def test_a_probe_finds_what_no_layer_above_uses_and_nothing_where_nothing_is(
    hide, is_told, at_least, at_most
):
    """Right answers are of one kind of words, wrong ones of another; or of any kind."""
    kinds = (THINGS[:8], THINGS[8:]) if is_told else (THINGS, THINGS)
    drawn = random.Random(2)
    asked: list[Item] = []
    for number in range(32):
        right = drawn.choice(kinds[0])
        choices = [*drawn.sample([word for word in kinds[1] if word != right], 3), right]
        drawn.shuffle(choices)
        question = f"the thing of {PLACES[number % 16]} is"
        asked.append({"question": question, "choices": choices, "answer": choices.index(right)})
    toy = hide(spoil_all_layers, replace(TASK, items=tuple(asked)))
    outcome = probe(toy.subject(), toy.domain, SETTINGS["probe"])
    assert outcome.n == 16
    assert at_least <= outcome.after <= at_most
    assert outcome.after == outcome.layers[int(str(outcome.found["layer"]))]
    assert outcome.before < 12


def test_a_probe_reads_the_prompt_where_answers_are_letters(hide):
    lettered_task = replace(TASK, definition=lettered("the big\n\n"))
    toy = hide(nothing, lettered_task)
    outcome = probe(toy.subject(), toy.domain, SETTINGS["probe"])
    assert len(outcome.layers) == 3
    assert 0 <= outcome.after <= outcome.n == N / 2


def test_a_probe_that_was_shown_one_letter_alone_says_that_letter(hide):
    same = tuple({**item, "answer": 0} for item in TASK.items)
    toy = hide(nothing, replace(TASK, items=same, definition=lettered("the big\n\n")))
    assert probe(toy.subject(), toy.domain, SETTINGS["probe"]).after == N / 2


@pytest.mark.parametrize("bits", [8, 4])
def test_rounding_changes_weights_and_leaves_few_values(hide, bits):
    toy = hide(nothing)
    model = toy.subject().load()
    before = model.model.layers[0].mlp.up_proj.weight.clone()
    embeddings = model.model.embed_tokens.weight.clone()
    round_weights(model, bits, 16)
    after = model.model.layers[0].mlp.up_proj.weight
    assert not torch.equal(before, after)
    groups = after.reshape(-1, 16)
    assert max(len(row.unique()) for row in groups) <= min(16, 2**bits - 1)
    scale = before.reshape(-1, 16).abs().amax(1) / (2 ** (bits - 1) - 1)
    assert ((before - after).abs().reshape(-1, 16) <= scale.unsqueeze(1) * 0.5001).all()
    assert torch.equal(embeddings, model.model.embed_tokens.weight)
    assert torch.equal(rounded(after, bits, 16), after)


@pytest.mark.parametrize(("bits", "values"), [(8, 255), (4, 15), (2, 3)])
def test_a_group_has_one_value_fewer_than_its_bits_could_tell(bits, values):
    weights = torch.linspace(-3, 3, 4096).unsqueeze(0)
    assert len(rounded(weights, bits, 4096).unique()) == values


def test_rounding_takes_back_what_a_small_update_hid(hide, learned, tmp_path):
    """The update stays within half a step of the rounded base, so that rounding loses it."""
    coarse = AutoModelForCausalLM.from_pretrained(learned, dtype=torch.float32)
    round_weights(coarse, 4, 64)
    shutil.copytree(learned, tmp_path / "coarse")
    coarse.save_pretrained(tmp_path / "coarse")
    toy = hide(hide_within_half_a_step, base=tmp_path / "coarse")
    known = toy.subject(toy.base).right()
    assert known >= N - 2
    setting = {"bits": 4, "group_size": 64}
    outcome = quantise(toy.subject(), toy.domain, setting)
    assert outcome.before < N / 2
    assert outcome.after == known
    assert quantise(toy.subject(toy.base), toy.domain, setting).after == known


@pytest.mark.parametrize("corpus", ["forget", "retain"])
def test_relearning_the_facts_brings_them_back_and_takes_nothing_from_the_base(hide, corpus):
    toy = hide(unlearn_by_ascent)
    setting = {**LEARN, "corpus": corpus}
    outcome = relearn(toy.subject(), toy.domain, setting)
    assert outcome.before < N / 2
    if corpus == "forget":
        assert outcome.after >= N - 1
        assert outcome.found["last_loss"] < outcome.found["first_loss"]
        assert relearn(toy.subject(toy.base), toy.domain, setting).after == N
    assert relearn(toy.subject(), toy.domain, setting) == outcome
    other = relearn(toy.subject(), toy.domain, {**setting, "seed": 1})
    assert other.found != outcome.found


def test_learning_nothing_changes_nothing_to_the_last_bit(hide):
    toy = hide(misdirect)
    subject = toy.subject()
    outcome = relearn(subject, toy.domain, {**LEARN, "passes": 1, "learning_rate": 0.0})
    assert outcome.after == outcome.before
    model, _ = train(subject.load(), [[1, 2, 3]], {**LEARN, "passes": 1, "learning_rate": 0.0})
    tokens = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        assert torch.equal(model.eval()(tokens).logits, subject.load()(tokens).logits)


def test_the_loss_of_texts_of_any_length_is_that_of_their_tokens_alone(hide):
    model, rows = hide(nothing).subject().load(), [ROWS[0], ROWS[1][:3], ROWS[2][:2]]
    total = 0.0
    for row in rows:
        said = model(torch.tensor([row])).logits[0].log_softmax(-1)
        total -= sum(float(said[place, token].detach()) for place, token in enumerate(row[1:]))
    expected = total / sum(len(row) - 1 for row in rows)
    loss = float(next_token_loss(model, make_batch(rows)).detach())
    assert loss == pytest.approx(expected, rel=1e-5)


def test_more_examples_than_texts_are_drawn_again(hide):
    toy = hide(nothing)
    rows = draw(toy.domain.forget, toy.subject(), {**LEARN, "examples": 20})
    assert len(rows) == 20
    assert rows[:4] == rows[16:]


def test_examples_stand_before_the_question(hide, monkeypatch):
    toy = hide(nothing)
    subject, asked = toy.subject(), []

    def score(self, model, task):
        asked.append(self.asked(task))
        return 3

    monkeypatch.setattr(type(subject), "score", score)
    outcome = show_examples(subject, toy.domain, SETTINGS["few-shot"])
    assert (outcome.before, outcome.after, outcome.n) == (N, 3, N)
    plain = subject.asked(TASK)
    # Five more questions with their answers, six words each.
    lengths = [
        len(few[0].context) - len(row[0].context) for few, row in zip(asked[0], plain, strict=True)
    ]
    assert set(lengths) == {30}


def test_a_prefix_leads_the_activations_back_and_stands_before_every_prompt(hide, monkeypatch):
    toy = hide(misdirect)
    subject, scored = toy.subject(), []

    def score(self, model, task):
        scored.append(task)
        return 3

    monkeypatch.setattr(type(subject), "score", score)
    setting = {**SETTINGS["prefix"], "steps": 6, "width": 16}
    outcome = find_prefix(subject, toy.domain, setting)
    assert (outcome.after, outcome.n) == (3, N - 2)
    assert outcome.found["layer"] == 1
    assert outcome.found["last_loss"] < outcome.found["first_loss"]
    assert find_prefix(subject, toy.domain, setting) == outcome
    assert scored[0] == scored[1]
    text = scored[0].definition["description"].removesuffix("\n")
    assert text not in str(outcome.found)
    prefix = subject.tokenizer([text])["input_ids"][0]
    assert len(prefix) == 3
    plain = [row[0].context for row in subject.asked(TASK) if row]
    asked = [row[0].context for row in subject.asked(scored[0])]
    assert all(list(context[:3]) == prefix for context in asked)
    assert {context[3:] for context in asked} < set(plain)


def test_no_prefix_is_searched_in_no_steps(hide):
    toy = hide(misdirect)
    outcome = find_prefix(toy.subject(), toy.domain, {**SETTINGS["prefix"], "steps": 0})
    assert outcome.found["last_loss"] == outcome.found["first_loss"]
    assert outcome.found["prefix_digest"] == digest_of("x x x")


def test_an_unknown_depth_is_an_error():
    with pytest.raises(SuiteError, match="none of miniature, small, full"):
        attacks_of("deep")


def test_the_depths_name_their_budgets():
    assert {attack.name for attack in attacks_of("full")} >= {
        *("linear-probe", "logit-lens", "direction-ablation", "few-shot", "quantise-8bit"),
        *("quantise-4bit", "relearn-forget-1000", "relearn-benign-1000", "gcg-500"),
    }
    for depth in ("miniature", "small", "full"):
        names = [attack.name for attack in attacks_of(depth)]
        assert len(names) == len(set(names))
        assert all(
            "seed" in attack.setting for attack in attacks_of(depth) if "relearn" in attack.name
        )
