"""What an operator sees before a run and after it, through the command."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cli import main
from unlearn.cli.dry_run import duration, size
from unlearn.corpora.sources import CAPITALS
from unlearn.estimate import ROW_BYTES


@pytest.fixture
def airlock(store, capsys):
    def call(*words: str, status: int = 0) -> str:
        assert main(["--home", str(store.root.parent), *words]) == status
        return capsys.readouterr().out

    return call


@pytest.fixture
def recipe(cut, tmp_path):
    def write(**values: object) -> str:
        table = replace(cut, **values).as_json()
        topics = table.pop("topics")
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        for topic in topics:
            lines += [
                "[[topics]]",
                *(f"{key} = {json.dumps(value)}" for key, value in topic.items()),
            ]
        path = tmp_path / "recipe.toml"
        path.write_text("\n".join(lines))
        return str(path)

    return write


def test_a_dry_run_says_what_is_trained_and_reads_no_weight(
    airlock, recipe, store, base, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    path = store.path(base.digest) / "model.safetensors"
    size_before = path.stat().st_size
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    content = path.read_bytes()[:header] + b"\0" * (size_before - header)
    path.unlink()
    path.write_bytes(content)  # No hash fits, and no weight makes sense.
    printed = airlock("unlearn", "run", recipe(rank=2), "--dry-run")
    for name in ("layers.0", "layers.1"):
        assert f"model.{name}.mlp.down_proj.weight" in printed
    assert "16 x 32" in printed
    assert "rank 2" in printed
    for row in ("weights not loaded", "memory beyond the libraries", "disk", "time"):
        assert row in printed
    assert [manifest.digest for manifest in store.manifests()] == [base.digest]


@pytest.mark.usefixtures("base")
def test_a_dry_run_counts_the_tokens_of_corpora_that_are_here(airlock, recipe, cut, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    topic = replace(cut.topics[0], max_tokens=1000, retain="builtin:capitals/retain")
    known = airlock("unlearn", "run", recipe(topics=(topic,)), "--dry-run")
    texts = len((CAPITALS / "retain.jsonl").read_bytes().splitlines()) + 5
    assert f"corpora {size(texts * (4 * 1000 + ROW_BYTES))}" in known
    gone = replace(topic, forget="hub:someone/corpora")
    printed = airlock("unlearn", "run", recipe(topics=(gone,)), "--dry-run")
    assert "hub:someone/corpora is not in the cache yet" in printed
    assert f"corpora {size((texts - 5) * (4 * 1000 + ROW_BYTES))}" in printed
    lost = replace(topic, forget="file:/nowhere/a.jsonl")
    airlock("unlearn", "run", recipe(topics=(lost,)), "--dry-run", status=13)


def test_a_dry_run_without_a_base_shows_the_recipe(airlock, recipe, cut):
    printed = airlock("unlearn", "run", recipe(), "--dry-run")
    assert "trains mlp.down_proj.weight of layers 0, 1" in printed
    assert "no base of family tiny" in printed


@pytest.mark.usefixtures("base")
def test_a_dry_run_refuses_what_does_not_fit(airlock, recipe):
    airlock("unlearn", "run", recipe(trained_tensors=("mlp.x.weight",)), "--dry-run", status=14)


def test_a_candidate_says_how_it_was_made(airlock, recipe, store, base):
    digest = airlock("unlearn", "run", recipe(rank=2)).strip()
    shown = airlock("checkpoints", "show", digest)
    lines = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert lines["checkpoint"] == digest
    assert lines["base"] == base.digest
    assert lines["differing"].startswith("2 of 30 tensors")
    assert lines["differing"].endswith("identical below layer 0")
    assert "restore/, rank 2" in shown
    assert "5 texts" in lines["capitals.forget"]
    runs = store.run_path(digest)
    for name in ("curves.png", "steps.jsonl"):
        assert str(runs / name) in shown
    assert len((runs / "steps.jsonl").read_text().splitlines()) == 4
    manifest = json.loads(airlock("checkpoints", "show", digest, "--json"))
    assert manifest["schema_version"] == 2
    assert manifest["lineage"]["restore"]["rank"] == 2


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (14_500_000_000, "14.5 GB"), (2_000, "2 kB")]
)
def test_sizes_are_for_reading(count, text):
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(59.6, "60 s"), (600, "10 min"), (36000, "10.0 h")])
def test_times_are_for_reading(seconds, text):
    assert duration(seconds) == text


def test_names_are_shown_as_they_are_and_no_terminal_obeys_them(recipe, store, tmp_path, capsys):
    """A closing tag in one would end the verb, and a file's name may hold any sign."""
    home = ("--home", str(store.root.parent), "unlearn")
    named = tmp_path / "[" / "x]\x1b.toml"
    named.parent.mkdir()
    named.write_bytes(Path(recipe(family="[/x]\x1b")).read_bytes())
    assert main([*home, "sweep", str(named), "--dry-run"]) == 0
    said = capsys.readouterr().err.replace("\n", "")
    assert "[/x]\ufffd.toml: layer" in said
    assert "\x1b" not in said
    assert main([*home, "run", str(named), "--dry-run"]) == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "no base of family [/x]\ufffd, so" in said
    assert "\x1b" not in said
