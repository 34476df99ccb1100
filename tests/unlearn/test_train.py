"""Runs on a tiny random Llama: what changes, what does not, and what repeats."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.errors import CheckpointCorruptError
from tests.benchmarks.plain import PublishedAdamW
from tests.unlearn.baselines.recipes import ALL as BASELINES
from unlearn.baselines.recipe import BaselineTopic
from unlearn.cache import ActivationCache
from unlearn.config import RunConfig
from unlearn.errors import DivergedError, RecipeError, TensorNotFoundError, TokenizerMismatchError
from unlearn.plan import find_done, make_plan
from unlearn.train import StepLog, fit, run

TRAINED = ("model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight")


def with_topic(config: RunConfig, **values: object) -> RunConfig:
    return replace(config, topics=tuple(replace(topic, **values) for topic in config.topics))


def plan_of(config, base, store):
    return make_plan(config, base.digest, store, store.root / "corpora")


def candidate(store, base, config, **words):
    logs: list[StepLog] = []
    state = store.root.parent / "run"
    made = run(plan_of(config, base, store), store, state, logs.append, **words)
    return made, logs


def differing(store, base, made) -> set[str]:
    one, other = (load_file(store.path(m.digest) / "model.safetensors") for m in (base, made))
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("method", ["cut", "rmu", "adaptive-rmu"])
def test_only_the_named_tensors_change(store, base, cut, method, rank):
    config = replace(cut, method=method, rank=rank, steps=24, learning_rate=5e-2)
    made, logs = candidate(store, base, config)
    assert differing(store, base, made) == set(TRAINED)
    assert [log.step for log in logs] == list(range(1, 25))
    assert logs[0].retain == 0, "before the first step both models are the same"
    assert logs[0].retain_cosine == pytest.approx(1.0, abs=1e-5)
    assert logs[-1].retain_cosine < 1 - 1e-5
    first, last = (sum(log.forget for log in part) for part in (logs[:6], logs[-6:]))
    assert last < 0.95 * first, "the forget activations move to their target"
    lineage = made.lineage
    assert lineage is not None
    assert lineage.base == base.digest
    assert lineage.trained_tensors == TRAINED
    assert lineage.changes is not None
    assert set(lineage.changes.differing) == set(TRAINED)
    assert lineage.changes.first_trained_layer == 0
    assert (lineage.restore is not None) == bool(rank)
    assert lineage.data_order is not None
    assert made.hazards == base.hazards
    assert store.verify(made.digest) == made


@pytest.mark.parametrize("rank", [0, 2])
def test_the_same_recipe_and_seed_give_the_same_digest_cold_and_warm(store, base, cut, rank):
    config = replace(cut, rank=rank, trained_layers=(1,))
    said: list[str] = []
    cache = ActivationCache(store.root.parent / "cache", 10**9, said.append)
    uncached, _ = candidate(store, base, config)
    cold, _ = candidate(store, base, config, cache=cache)
    files = {file: file.stat().st_mtime_ns for file in cache.root.rglob("*.safetensors")}
    warm, _ = candidate(store, base, config, cache=cache)
    assert files, "the cold run fills the cache"
    assert files == {f: f.stat().st_mtime_ns for f in cache.root.rglob("*.safetensors")}
    assert uncached.digest == cold.digest == warm.digest
    assert not said
    other, _ = candidate(store, base, replace(config, seed=1), cache=cache)
    assert other.digest != cold.digest


def plain_losses(config: RunConfig, path, texts: dict[str, list[str]]) -> list[float]:
    """The published arithmetic, written the plain way: two whole models, padding on the left."""
    topic = config.topics[0]
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    updated = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    frozen = copy.deepcopy(updated)
    parameters = dict(updated.named_parameters())
    optimizer = PublishedAdamW([parameters[name] for name in TRAINED], config.learning_rate)

    def state(model, batch):
        words = tokenizer(batch, return_tensors="pt", padding=True)
        words.pop("token_type_ids", None)
        return model(**words, output_hidden_states=True).hidden_states[config.layer + 1]

    torch.manual_seed(config.seed)
    vector = torch.rand(1, 1, updated.config.hidden_size)
    target = topic.coefficient * vector / vector.norm()
    losses = []
    for step in range(config.steps):
        forget, retain = (
            texts[name][step * config.batch_size : (step + 1) * config.batch_size]
            for name in ("forget", "retain")
        )
        gone, kept = state(updated, forget), state(updated, retain)
        forget_loss = torch.nn.functional.mse_loss(gone, target.expand_as(gone))
        retain_loss = torch.nn.functional.mse_loss(kept, state(frozen, retain).detach())
        loss = forget_loss + topic.alpha * retain_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_reference_numerics_are_those_of_the_published_code(store, base, cut):
    config = replace(cut, method="rmu", numerics="reference", steps=2, learning_rate=1e-2)
    logs: list[StepLog] = []
    plan = plan_of(config, base, store)
    path = store.path(base.digest)
    fit(config, path, plan.corpora, logs.append, base=base.digest)
    texts = {
        "forget": list(plan.corpora[0].forget.texts),
        "retain": [*plan.corpora[0].retain.texts],
    }
    expected = plain_losses(config, path, texts)
    assert [log.loss for log in logs] == pytest.approx(expected, rel=1e-5)
    assert expected[1] != pytest.approx(expected[0], rel=1e-3)


def test_topics_alternate_and_each_has_its_own_settings(store, base, cut):
    first = cut.topics[0]
    second = replace(first, domain="rivers", coefficient=50.0)
    config = replace(cut, method="rmu", topics=(first, second))
    plan = plan_of(config, base, store)
    logs: list[StepLog] = []
    path = store.path(base.digest)
    fitted = fit(config, path, plan.corpora, logs.append, base=base.digest)
    assert [log.topic for log in logs] == ["capitals", "rivers"] * 2
    assert logs[1].forget > 10 * logs[0].forget
    norms = {domain: vectors.norm().item() for domain, vectors in fitted.vectors.items()}
    assert norms == pytest.approx({"capitals": 5.0, "rivers": 50.0})


def test_adaptive_rmu_scales_by_the_frozen_norm(store, base, cut):
    config = with_topic(replace(cut, method="adaptive-rmu"), coefficient=3.0)
    plan = plan_of(config, base, store)
    logs: list[StepLog] = []
    path = store.path(base.digest)
    fitted = fit(config, path, plan.corpora, logs.append, base=base.digest)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path)
    norms = [
        model(torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True)
        .hidden_states[2][0]
        .norm(dim=-1)
        for text in plan.corpora[0].forget.texts
    ]
    expected = 3.0 * torch.cat(norms).mean().item()
    assert fitted.vectors["capitals"].norm().item() == pytest.approx(expected, rel=1e-4)


def test_what_is_done_is_found_by_recipe_corpora_and_base(store, base, cut, tmp_path):
    plan = plan_of(cut, base, store)
    assert find_done(store, plan) is None
    made, _ = candidate(store, base, cut)
    found = find_done(store, plan)
    assert found is not None
    assert found.digest == made.digest
    other = plan_of(with_topic(cut, alpha=2.0), base, store)
    assert find_done(store, other) is None
    assert other.digest != plan.digest
    (tmp_path / "forget.jsonl").write_text('{"text": "another text"}\n{"text": "b"}\n')
    changed = plan_of(cut, base, store)
    assert find_done(store, changed) is None
    assert changed.digest != plan.digest


def test_a_diverging_run_stores_nothing(store, base, cut):
    with pytest.raises(DivergedError, match="step 2"):
        candidate(store, base, replace(cut, learning_rate=1e25))
    assert [manifest.digest for manifest in store.manifests()] == [base.digest]
    assert not list((store.root / "staging").iterdir())


def test_a_tensor_that_is_not_there_is_named(store, base, cut):
    with pytest.raises(TensorNotFoundError, match="down_proj"):
        candidate(store, base, replace(cut, trained_tensors=("mlp.down.weight",)))


def test_another_models_tokenizer_is_refused(store, base, cut, monkeypatch):
    class Larger:
        def __len__(self):
            return 10_000

    class Loader:
        from_pretrained = staticmethod(lambda path: Larger())

    monkeypatch.setattr("unlearn.topics.AutoTokenizer", Loader)
    with pytest.raises(TokenizerMismatchError, match="10000 tokens, the embedding 20 rows"):
        candidate(store, base, cut)


def test_a_base_without_tokenizer_says_so(store, base, cut, tmp_path):
    plan = plan_of(cut, base, store)
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((store.path(base.digest) / name).read_bytes())
    with pytest.raises(TokenizerMismatchError, match="cannot be read"):
        fit(cut, bare, plan.corpora, lambda _: None, base=base.digest)


def test_a_changed_base_is_not_unlearned(store, base, cut):
    path = store.path(base.digest) / "model.safetensors"
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\xaa")
    with pytest.raises(CheckpointCorruptError):
        candidate(store, base, cut)


def test_weights_stay_bf16(store, base, cut):
    made, _ = candidate(store, base, replace(cut, compute_dtype="bfloat16"))
    with safe_open(store.path(made.digest) / "model.safetensors", framework="pt") as opened:
        types = {opened.get_tensor(name).dtype for name in opened.keys()}  # noqa: SIM118
    assert types == {torch.bfloat16}
    assert differing(store, base, made) == set(TRAINED)


def test_masters_are_fp32_where_bf16_would_lose_the_steps(store, base, cut):
    config = replace(cut, compute_dtype="bfloat16", learning_rate=1e-7, steps=2)
    plan = plan_of(config, base, store)
    path = store.path(base.digest)
    fitted = fit(config, path, plan.corpora, lambda _: None, base=base.digest)
    weights = load_file(path / "model.safetensors")
    for name, tensor in fitted.updated.items():
        assert tensor.dtype == torch.float32
        assert not torch.equal(tensor, weights[name].float())
        assert (tensor - weights[name].float()).abs().max() < 1e-6
        lost = tensor.bfloat16() == weights[name]
        assert lost.float().mean() > 0.9


def test_the_topics_domains_are_distinct(cut):
    with pytest.raises(ValueError, match="distinct"):
        replace(cut, topics=cut.topics * 2)


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda config: config.method)
def test_a_baselines_manifest_names_all_that_changed(store, base, cut, baseline):
    topic = cut.topics[0]
    texts = BaselineTopic(
        domain=topic.domain, forget=topic.forget, retain=topic.retain, max_tokens=8
    )
    config = replace(baseline, topics=(texts,))
    made, logs = candidate(store, base, config)
    assert made.lineage is not None
    assert set(made.lineage.trained_tensors) == differing(store, base, made) != set()
    assert made.lineage.method == config.method
    assert len(logs) == config.steps
    found = find_done(store, plan_of(config, base, store))
    assert found is not None
    assert found.digest == made.digest
    with pytest.raises(RecipeError, match="one process"):
        candidate(store, base, replace(config, seed=1), processes=2)
