"""Sweeps: what is varied, what is kept, and that a second run goes on where the first stopped."""

from dataclasses import replace

import pytest

from gateway.cli import main
from tests.unlearn.test_cli import toml
from unlearn.corpora import read_corpus
from unlearn.errors import RecipeError
from unlearn.pareto import plot
from unlearn.sweep import Axis, Measured, Point, front, points, read_points, sweep


def point(hazard: float, general: float, **changes) -> Point:
    given = {
        "recipe": "r",
        "digest": f"sha256:{hazard}{general}",
        "method": "cut",
        "layer": 5,
        "coefficient": 1.0,
        "alpha": 1.0,
        "rank": 0,
        "learning_rate": 0.1,
        "steps": 1,
        "seed": 0,
        "hazard": hazard,
        "hazard_items": 10,
        "general": general,
        "general_items": 10,
        "forget_norm": 1.0,
        "retain_cosine": 1.0,
        "seconds": 1.0,
    }
    return Point(**{**given, **changes})


def test_a_sweep_is_the_product_of_recipes_and_values():
    axes = [Axis("layer", (4, 9)), Axis("coefficient", (10, 20.5))]
    found = points(["smollm2-cut", "smollm2-rmu"], axes)
    assert len(found) == len({config.digest for _, config in found}) == 8
    deep = found[2][1]
    assert deep.layer == 9
    assert deep.trained_layers == (7, 8, 9), "trained layers move with the steered one"
    assert {config.topics[0].coefficient for _, config in found} == {10, 20.5}
    with pytest.raises(RecipeError, match="unknown key"):
        points(["smollm2-cut"], [Axis("lr", (1,))])


def test_the_front_is_what_nothing_beats_in_both():
    best, cheap, beaten = point(0.2, 0.7), point(0.4, 0.9), point(0.4, 0.7)
    assert front([beaten, cheap, best]) == [best, cheap]


@pytest.fixture
def small_sweep(base, store, cut, tmp_path):
    """A sweep of two seeds on the tiny base, whose measurements are counted."""
    measured = []

    def measure(checkpoint):
        assert (checkpoint / "model.safetensors").exists()
        measured.append(checkpoint)
        return Measured(3, 10, 8, 10)

    todo = [("tiny", replace(cut, seed=seed)) for seed in (0, 1)]

    def run(which):
        return sweep(
            [todo[number] for number in which],
            base.digest,
            store,
            tmp_path / "out",
            measure,
            corpora_cache=tmp_path / "corpora",
            cache=None,
            on_point=lambda *_: None,
        )

    return run, measured, tmp_path / "out"


def test_points_that_are_known_are_not_made_again(small_sweep, store):
    run, measured, out = small_sweep
    first = run([0])
    both = run([0, 1])
    assert len(measured) == 2
    assert both[0] == first[0] == read_points(out)[0]
    assert [p.seed for p in both] == [0, 1]
    assert all(p.hazard == 0.3 and p.general == 0.8 and p.seconds > 0 for p in both)
    assert len(store.manifests()) == 1, "a sweep stores no candidates"


def test_a_row_that_was_cut_off_is_made_again(small_sweep):
    run, measured, out = small_sweep
    run([0])
    path = out / "points.csv"
    path.write_text(path.read_text()[:-40])
    again = run([0])
    assert len(measured) == 2
    assert read_points(out) == again


def test_all_points_take_texts_that_were_read_once(small_sweep, monkeypatch):
    run, _, _ = small_sweep
    read = []

    def watch(spec, **given):
        read.append(spec.rsplit("/")[-1])
        return read_corpus(spec, **given)

    monkeypatch.setattr("unlearn.plan.read_corpus", watch)
    run([0, 1])
    assert read == ["forget.jsonl", "retain.jsonl"]


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--vary", "layer=[1,9]"], 14, "no tensor"),
        (["--vary", 'forget=["file:/nowhere.jsonl"]'], 13, "nowhere"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(
    cut, store, tmp_path, monkeypatch, capsys, words, status, said
):
    monkeypatch.setattr("unlearn.trial.Trial.measure", lambda *_: pytest.fail("it measures"))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(toml(cut))
    home = ["--home", str(store.root.parent)]
    assert main([*home, "unlearn", "sweep", str(recipe), *words]) == status
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("base")
def test_a_sweep_says_how_many_items_are_measured(cut, store, tmp_path, monkeypatch, capsys):
    def measure(trial, checkpoint, on_items):
        on_items(3, 18)
        return Measured(3, 10, 8, 10)

    monkeypatch.setattr("unlearn.trial.Trial.measure", measure)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(toml(cut))
    home = ["--home", str(store.root.parent)]
    assert main([*home, "unlearn", "sweep", str(recipe), "--vary", "seed=[1]"]) == 0
    shown = capsys.readouterr()
    assert "items measured" in shown.err
    assert "3/18" in shown.err
    assert shown.out.strip().endswith("pareto.png")


def test_the_plot_is_a_picture(tmp_path):
    found = [point(0.3, 0.8), point(0.9, 0.9, rank=4)]
    path = plot(found, Measured(9, 10, 9, 10), 0.25, tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
