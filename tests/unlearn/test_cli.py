"""`airlock unlearn run` on a tiny base, through the command."""

import json

import pytest

from gateway.cli import main


def toml(config) -> str:
    """A recipe as its TOML file."""
    values = config.as_json()
    topics = values.pop("topics")
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    for topic in topics:
        lines += ["[[topics]]", *(f"{key} = {json.dumps(value)}" for key, value in topic.items())]
    return "\n".join(lines)


@pytest.fixture
def recipe(cut, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(toml(cut))
    return str(path)


@pytest.fixture
def airlock(store, base):
    home = store.root.parent

    def call(*words: str) -> int:
        return main(["--home", str(home), "unlearn", "run", *words])

    return call


def test_a_run_prints_the_digest_and_is_not_done_twice(airlock, recipe, store, capsys):
    assert airlock(recipe) == 0
    first = capsys.readouterr()
    digest = first.out.strip()
    assert store.verify(digest).lineage.method == "cut"
    assert list((store.root.parent / "cache" / "activations").rglob("*.safetensors"))
    assert not list((store.root.parent / "runs").iterdir())
    assert airlock(recipe) == 0
    again = capsys.readouterr()
    assert again.out.strip() == digest
    assert "in the store already" in again.err


def test_values_are_replaced_and_recorded_and_the_cache_can_be_left_alone(
    airlock, recipe, store, capsys
):
    assert airlock(recipe, "--no-cache", "--set", "seed=3", "--set", "alpha=2.5") == 0
    made = store.get(capsys.readouterr().out.strip())
    assert made.lineage.seed == 3
    assert made.lineage.recipe["topics"][0]["alpha"] == 2.5
    assert not (store.root.parent / "cache" / "activations").exists()


@pytest.mark.parametrize(
    ("override", "status", "message"),
    [
        ("steps=0", 10, "steps must be above 0"),
        ('trained_tensors=["mlp.x.weight"]', 14, "there are: model.layers.0.input_layernorm"),
        ("learning_rate=1e25", 15, "not finite at step 2"),
        ('forget="file:/nowhere.jsonl"', 13, "nowhere"),
    ],
)
def test_each_failure_has_its_own_status_and_leaves_nothing(
    airlock, recipe, store, base, capsys, override, status, message
):
    assert airlock(recipe, "--set", override) == status
    output = capsys.readouterr()
    assert message in output.err
    assert output.out == ""
    assert [manifest.digest for manifest in store.manifests()] == [base.digest]


def test_where_the_log_is_stays_one_word_on_a_narrow_terminal(
    airlock, recipe, store, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "40")
    assert airlock(recipe) == 0
    shown = capsys.readouterr()
    made = shown.out.strip().removeprefix("sha256:")
    assert f"log and curves: {store.root}/runs/{made}\n" in shown.err


def test_without_a_base_it_is_said_how_one_comes_in(airlock, recipe, store, capsys):
    assert airlock(recipe, "--set", 'family="other"') == 10
    assert "no base of that family; bring one in with `airlock checkpoints import`" in (
        capsys.readouterr().err
    )


@pytest.mark.usefixtures("base")
def test_any_suites_items_are_counted(store, tmp_path, capsys):
    row = {"question": "a ?", "choices": ["a", "b", "c", "d"], "answer": 0}
    path = tmp_path / "towns.jsonl"
    path.write_text(json.dumps(row) + "\n")
    words = ["--home", str(store.root.parent), "unlearn", "domain", "--suite"]
    assert main([*words, f"file:{path}"]) == 0
    assert "corpus" not in capsys.readouterr().out
    assert main([*words, "capitals"]) == 0
    assert "forget corpus: 314 texts" in capsys.readouterr().out
    assert main([*words, "wmdp"]) == 11, "it is known, and is looked for"
