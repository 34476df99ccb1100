"""The baselines on a tiny random Llama: their losses and what they change."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig, MixtralForCausalLM

from tests.unlearn.baselines.recipes import ALL, LLMU, SCRUB, SSD, TEXTS, TOPIC, corpus
from unlearn.baselines.fit import fit
from unlearn.baselines.rows import Rows
from unlearn.baselines.scrub import phases
from unlearn.baselines.ssd import dampen
from unlearn.baselines.whole import WholeModel
from unlearn.errors import DivergedError, TensorNotFoundError

WEIGHTS = "model.safetensors"


@pytest.fixture
def checkpoint(store, base):
    return store.path(base.digest)


def run(config, checkpoint, texts=TEXTS):
    steps = []
    return fit(config, checkpoint, [texts] * len(config.topics), steps.append), steps


def log_perplexity(checkpoint, prompt, answer):
    """Minus the mean log-likelihood of the answer's tokens, one forward pass a token."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    total = 0.0
    for count, token in enumerate(answer):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + answer[:count]])).logits[0, -1]
        total -= math.log(logits.double().softmax(-1)[token].item())
    return total / len(answer)


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.method)
def test_the_same_seed_gives_the_same_tensors(checkpoint, config):
    changed, steps = run(config, checkpoint)
    again, _ = run(config, checkpoint)
    assert [step.step for step in steps] == list(range(1, config.steps + 1))
    assert changed
    assert changed.keys() == again.keys()
    assert all(torch.equal(changed[name], again[name]) for name in changed)
    other, _ = run(replace(config, seed=1), checkpoint)
    assert any(name not in other or not torch.equal(changed[name], other[name]) for name in changed)


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.method)
def test_what_is_returned_differs_in_the_checkpoints_own_dtype(checkpoint, config):
    changed, _ = run(config, checkpoint)
    before = load_file(checkpoint / WEIGHTS)
    assert changed.keys() <= before.keys()
    for name, tensor in changed.items():
        assert tensor.dtype == torch.float32
        assert not torch.equal(tensor.to(torch.bfloat16), before[name])


def test_a_change_below_the_rounding_is_none(checkpoint):
    # bf16 keeps 8 bits: of a weight of 0.02 a change below 4e-5 is lost, of 1.0 one below 4e-3.
    changed, _ = run(replace(LLMU, learning_rate=1e-12), checkpoint)
    assert changed == {}


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.method)
def test_a_loss_that_is_no_number_ends_the_run(checkpoint, config, tmp_path):
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    for path in checkpoint.iterdir():
        (spoiled / path.name).write_bytes(path.read_bytes())
    tensors = load_file(checkpoint / WEIGHTS)
    tensors["model.norm.weight"] *= float("nan")
    save_file(tensors, spoiled / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(DivergedError, match="step 1"):
        run(config, spoiled)


def test_llmus_first_loss_is_that_of_the_formula(checkpoint):
    one = replace(LLMU, batch_size=1, mismatches=1, steps=1)
    texts = (corpus("a b c d e"), corpus("f g h a"))
    _, (step,) = run(one, checkpoint, texts)
    encode = AutoTokenizer.from_pretrained(checkpoint).encode
    forget = log_perplexity(checkpoint, encode("a b"), encode("c d e"))
    mismatch = log_perplexity(checkpoint, encode("a b"), encode("h a"))
    assert step.forget == pytest.approx(forget, rel=1e-5)
    assert step.retain == pytest.approx(0, abs=1e-6), "before the first step it is the base"
    assert step.loss == pytest.approx(-0.5 * forget + 2.0 * mismatch, rel=1e-5)


def test_llmu_forgets(checkpoint):
    _, steps = run(replace(LLMU, steps=20, mismatch_weight=0.0, batch_size=3), checkpoint)
    assert steps[-1].forget > steps[0].forget + 0.1
    assert steps[-1].retain > 0


def test_scrubs_losses_are_those_of_the_formula(checkpoint):
    texts = (corpus("a b c"), corpus("e f g"))
    config = replace(SCRUB, batch_size=1, rounds=2, max_rounds=1, max_steps=1)
    _, steps = run(config, checkpoint, texts)
    task = log_perplexity(checkpoint, [5], [6, 7])  # e, then f and g
    assert [step.step for step in steps] == [1, 2, 3]
    # On the first step the student is the teacher, so that there is nothing to ascend yet.
    assert steps[0].loss == pytest.approx(0, abs=1e-6)
    assert steps[1].loss == pytest.approx(2.0 * steps[1].retain + 0.5 * task, rel=2e-3)
    assert steps[1].forget == steps[0].forget, "a min-step has no figure of its own on forget texts"


def test_scrub_alternates_and_ends_on_min_steps():
    assert list(phases(SCRUB)) == [True, True, False, True, True, False, False]
    assert SCRUB.steps == 7


def test_scrub_moves_away_on_forget_texts(checkpoint):
    config = replace(SCRUB, rounds=6, max_rounds=6, max_steps=4, min_steps=2, batch_size=3)
    _, steps = run(config, checkpoint)
    assert steps[-1].forget > 2 * steps[-1].retain > 0


def test_ssd_dampens_what_matters_to_the_forget_texts():
    parameter = torch.tensor([10.0, 10.0, 10.0, 10.0, 10.0])
    forget = torch.tensor([2.0, 3.0, 8.0, 5.0, 0.0])
    retain = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    # Ratios 2, 3, 8, infinite, 0 / 0. Selected: above alpha = 2. Factor: 4 * I_retain / I_forget,
    # at most 1: 4/3 -> 1, 4/8, 0.
    dampen(parameter, forget, retain, alpha=2.0, dampening=4.0)
    assert parameter.tolist() == [10.0, 10.0, 5.0, 0.0, 10.0]


def test_ssds_importance_is_the_mean_squared_gradient_of_single_texts(checkpoint):
    texts = (corpus("a b c", "d e"), corpus("f g"))
    changed, steps = run(replace(SSD, samples=2, alpha=0.1, dampening=0.01), checkpoint, texts)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    encode = AutoTokenizer.from_pretrained(checkpoint).encode
    name = "model.layers.1.mlp.up_proj.weight"
    before = dict(model.named_parameters())[name]

    def squared(text):
        tokens = torch.tensor([encode(text)])
        loss = model(input_ids=tokens, labels=tokens).loss
        return torch.autograd.grad(loss, before)[0].square()

    forget, retain = (squared("a b c") + squared("d e")) / 2, squared("f g")
    factor = torch.where(forget > 0.1 * retain, (0.01 * retain / forget).clamp(max=1), 1.0)
    assert torch.allclose(changed[name], factor * before, atol=1e-6)
    assert len(steps) == 4
    assert {step.topic for step in steps} == {"capitals"}


def test_topics_alternate(checkpoint):
    other = replace(TOPIC, domain="rivers")
    _, steps = run(replace(LLMU, topics=(TOPIC, other)), checkpoint)
    assert [step.topic for step in steps] == ["capitals", "rivers", "capitals"]


def test_rows_deal_every_text_once_in_each_pass(checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    rows = Rows(corpus("a", "b", "c d e"), tokenizer, max_tokens=2, seed=0, use="forget")
    dealt = [tuple(rows.row(position)) for position in range(12)]
    assert all(sorted(dealt[start : start + 3]) == [(1,), (2,), (3, 4)] for start in (0, 3, 6, 9))
    assert len({tuple(dealt[start : start + 3]) for start in (0, 3, 6, 9)}) > 1, "orders differ"
    assert [tuple(row) for row in rows.rows(1, 5)] == dealt[5:10], "any position, at any time"


def test_fused_experts_are_named_as_on_disk(checkpoint, tmp_path):
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=2,
        num_experts_per_tok=1,
    )
    MixtralForCausalLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(tmp_path)
    changed, _ = run(LLMU, tmp_path)
    on_disk = load_file(tmp_path / WEIGHTS)
    assert any("experts.1" in name for name in changed)
    assert changed.keys() <= on_disk.keys()
    assert all(changed[name].shape == on_disk[name].shape for name in changed)


def test_a_tensor_that_the_model_does_not_have_is_named(checkpoint, tmp_path):
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = WholeModel(tmp_path)
    save_file({"a.stray.weight": torch.zeros(1)}, tmp_path / "more.safetensors")
    with pytest.raises(TensorNotFoundError, match=r"a\.stray\.weight"):
        model.changed()


def test_the_rotary_buffers_of_old_checkpoints_are_no_change(checkpoint, tmp_path):
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    save_file({name: torch.zeros(4)}, tmp_path / "more.safetensors")
    assert WholeModel(tmp_path).changed() == {}
