"""Runs on a tiny random Llama: what changes, what does not, and what repeats."""

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from models.errors import CheckpointCorruptError
from unlearn import train
from unlearn.activations import SplitModel
from unlearn.config import RunConfig, load_recipe
from unlearn.errors import (
    CorpusError,
    DivergedError,
    RecipeError,
    StrayUpdateError,
    TensorNotFoundError,
)
from unlearn.plan import find_done, make_plan
from unlearn.train import changed_tensors, run, write_candidate

CUT = RunConfig(
    method="cut",
    family="tiny",
    domain="capitals",
    vector="contrastive",
    target="shifted",
    layer=1,
    trained_layers=(0, 1),
    trained_tensor="mlp.down_proj.weight",
    coefficient=5.0,
    alpha=1.0,
    learning_rate=1e-2,
    steps=4,
    batch_size=2,
    max_tokens=8,
    seed=0,
    phrases=("a b", "c"),
)
RMU = replace(CUT, method="rmu", vector="random", target="fixed", phrases=())


def candidate(store, base, corpora, config=CUT):
    logs = []
    made = run(make_plan(config, base.digest, corpora), store, logs.append)
    return made, logs


@pytest.mark.parametrize("config", [CUT, RMU], ids=lambda config: config.method)
def test_only_the_named_tensors_change(store, base, corpora, config):
    made, logs = candidate(store, base, corpora, config)
    weights = [store.path(digest) / "model.safetensors" for digest in (base.digest, made.digest)]
    assert changed_tensors(*weights) == set(config.tensor_names)
    assert [log.step for log in logs] == [1, 2, 3, 4]
    assert logs[0].retain == 0, "before the first step both models are the same"
    assert logs[-1].forget < logs[0].forget, "the forget activations move to their target"
    lineage = made.lineage
    assert lineage is not None
    assert lineage.base == base.digest
    assert lineage.trained_tensors == config.tensor_names
    assert made.hazards == base.hazards
    assert store.verify(made.digest) == made


def test_the_same_recipe_and_seed_give_the_same_digest(store, base, corpora, tmp_path):
    first, _ = candidate(store, base, corpora)
    again, _ = candidate(store, base, corpora)
    other, _ = candidate(store, base, corpora, replace(CUT, seed=1))
    rmu, _ = candidate(store, base, corpora, RMU)
    assert first.digest == again.digest
    assert len({first.digest, other.digest, rmu.digest}) == 3


def test_what_is_done_is_found_by_recipe_corpora_and_base(store, base, corpora):
    plan = make_plan(CUT, base.digest, corpora)
    assert find_done(store, plan) is None
    made, _ = candidate(store, base, corpora)
    found = find_done(store, plan)
    assert found is not None
    assert found.digest == made.digest
    assert find_done(store, make_plan(replace(CUT, alpha=2.0), base.digest, corpora)) is None
    (corpora / "forget.jsonl").write_text('{"text": "another text"}\n{"text": "b"}\n')
    assert find_done(store, make_plan(CUT, base.digest, corpora)) is None


def test_a_diverging_run_stores_nothing(store, base, corpora, monkeypatch):
    monkeypatch.setattr(train, "masked_mse", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(DivergedError, match="step 1"):
        candidate(store, base, corpora)
    assert [manifest.digest for manifest in store.manifests()] == [base.digest]


def test_a_tensor_that_is_not_there_is_named(store, base, corpora):
    with pytest.raises(TensorNotFoundError, match="down_proj"):
        candidate(store, base, corpora, replace(CUT, trained_tensor="mlp.down.weight"))


def test_a_stray_update_is_noticed(store, base, corpora, tmp_path, monkeypatch):
    def spoil(tensors, path, metadata=None):
        spoiled = dict(tensors)
        spoiled["model.norm.weight"] = spoiled["model.norm.weight"] + 1
        save(spoiled, path, metadata=metadata)

    save = train.save_file
    monkeypatch.setattr(train, "save_file", spoil)
    (tmp_path / "out").mkdir()
    with pytest.raises(StrayUpdateError, match=r"model\.norm"):
        write_candidate(store.path(base.digest), tmp_path / "out", {})


def test_a_changed_base_is_not_unlearned(store, base, corpora):
    path = store.path(base.digest) / "model.safetensors"
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\xaa")
    with pytest.raises(CheckpointCorruptError):
        candidate(store, base, corpora)


def test_the_split_model_computes_what_the_whole_one_does(store, base):
    path = store.path(base.digest)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 0]])
    whole = model(input_ids=tokens, output_hidden_states=True).hidden_states[2]  # after layer 1
    split = SplitModel(model, model.model.layers, first=1, last=1)
    prefix = split.prefix(tokens)
    assert torch.allclose(split.frozen_state(prefix), whole, atol=1e-6)
    assert torch.equal(split.updated_state(prefix), split.frozen_state(prefix))
    # Padding on the right is not seen by the tokens before it.
    short = split.prefix(torch.tensor([[5, 6, 7]]))
    assert torch.allclose(split.frozen_state(short)[0], whole[1, :3], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("stepz = 1", "unknown key: stepz"),
        ("", "missing key"),
        ("steps = ", "no TOML"),
    ],
)
def test_recipes_are_strict(tmp_path, text, problem):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=problem):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("steps = 120", 'steps = "120"', "wrong type"),
        ("steps = 120", "steps = 0", "above 0"),
        ('vector = "contrastive"', 'vector = "other"', "vector is one of"),
        ("layer = 5", "layer = 3", "none above layer"),
    ],
)
def test_impossible_values_are_refused(tmp_path, before, after, problem):
    text = (train.Path(train.__file__).parent / "recipes" / "smollm2-cut.toml").read_text()
    assert before in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(before, after))
    with pytest.raises(RecipeError, match=problem):
        load_recipe(str(path))


def test_shipped_recipes_load():
    assert load_recipe("smollm2-cut").vector == "contrastive"
    assert load_recipe("smollm2-rmu").target == "fixed"
    with pytest.raises(RecipeError, match="smollm2-rmu"):
        load_recipe("nothing")


@pytest.mark.parametrize("line", ["{", '{"txt": "a"}', '{"text": 1}', '"a"'])
def test_bad_corpora_name_the_line(store, base, corpora, line):
    (corpora / "forget.jsonl").write_text('{"text": "a"}\n' + line + "\n")
    with pytest.raises(CorpusError, match="line 2"):
        make_plan(CUT, base.digest, corpora)


def test_weights_stay_bf16(store, base, corpora):
    made, _ = candidate(store, base, corpora)
    with safe_open(store.path(made.digest) / "model.safetensors", framework="pt") as opened:
        types = {opened.get_tensor(name).dtype for name in opened.keys()}  # noqa: SIM118
    assert types == {torch.bfloat16}
