"""Recipes: those that ship fit their architectures, and nothing in one is guessed."""

from pathlib import Path

import pytest

from tests.unlearn.architectures import write_model
from unlearn.baselines.recipe import SsdConfig
from unlearn.config import RECIPES, RunConfig, load_recipe
from unlearn.errors import RecipeError
from unlearn.tensors import find_trained

ARCHITECTURES = {
    "zephyr": "mistral",
    "yi": "llama",
    "mixtral": "mixtral",
    "llama": "llama",
    "gemma": "gemma2",
    "qwen2.5": "qwen2",
    "qwen3": "qwen3",
    "smollm2": "llama",
}
LOOPED = sorted(
    path.stem
    for path in RECIPES.glob("*.toml")
    if not path.stem.endswith(("-llmu", "-scrub", "-ssd"))
)


@pytest.mark.parametrize("name", LOOPED)
def test_a_shipped_recipe_names_tensors_of_its_architecture(name, tmp_path):
    config = load_recipe(name)
    assert isinstance(config, RunConfig)
    # A tiny model has the same names in each layer, and four layers.
    architecture = ARCHITECTURES[name.partition("-")[0]]
    write_model(architecture, tmp_path)
    found = find_trained(tmp_path, [1], config.trained_tensors)
    assert len(found) == 1
    assert set(config.trained_layers) == {config.layer - 2, config.layer - 1, config.layer}


@pytest.mark.parametrize(
    ("name", "layer", "coefficient", "alpha", "steps", "batch_size", "min_characters"),
    [
        ("zephyr-7b-beta", 7, 6.5, 1200, 150, 4, 0),
        ("yi-34b-chat", 15, 300, 350, 400, 2, 0),
        ("mixtral-8x7b-instruct", 7, 300, 1600, 400, 2, 200),
        ("gemma-2-2b", 9, 350, 300, 250, 4, 0),
    ],
)
def test_published_presets(name, layer, coefficient, alpha, steps, batch_size, min_characters):
    config = load_recipe(name)
    assert isinstance(config, RunConfig)
    assert (config.method, config.learning_rate, config.seed) == ("rmu", 5e-5, 42)
    assert (config.layer, config.steps, config.batch_size) == (layer, steps, batch_size)
    assert [topic.domain for topic in config.topics] == ["bio", "cyber"]
    assert [topic.max_tokens for topic in config.topics] == [512, 768]
    for topic in config.topics:
        assert (topic.coefficient, topic.alpha) == (coefficient, alpha)
        assert topic.min_characters == min_characters
        assert topic.retain == "hub:wikitext/wikitext-2-raw-v1/test"


def text_of(name: str) -> str:
    return (RECIPES / f"{name}.toml").read_text()


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('method = "rmu"\nstepz = 1', "unknown key: stepz"),
        ('method = "rmu"', "missing key: .*trained_layers"),
        ("steps = ", "no TOML"),
        ("steps = 1", "method is one of"),
    ],
)
def test_recipes_are_strict(tmp_path, text, problem):
    with pytest.raises(RecipeError, match=problem):
        load_recipe(write(tmp_path / "recipe.toml", text))


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("steps = 120", 'steps = "120"', "steps has the wrong type"),
        ("steps = 120", "steps = true", "steps has the wrong type"),
        ("steps = 120", "steps = 0", "above 0"),
        ("rank = 0", "rank = -1", "not be below 0"),
        ('method = "cut"', 'method = "other"', "method is one of cut, rmu, adaptive-rmu"),
        ('numerics = "masked"', 'numerics = "exact"', "numerics is one of masked, reference"),
        ("layer = 5", "layer = 4", "none above layer"),
        ("trained_layers = [3, 4, 5]", "trained_layers = [3, 3]", "distinct"),
        ("trained_layers = [3, 4, 5]", 'trained_layers = ["3"]', "wrong type"),
        ("alpha = 50.0", "alpha = 0.0", "alpha must be above 0"),
        ("[[topics]]", "[topics]", "topics must be a list"),
        ("max_tokens = 128", "max_token = 128", "unknown key: max_token"),
        ("min_characters = 0\n", "", "missing key: min_characters"),
        ("phrases = [", "phrases = []\nother = [", "unknown key: other"),
    ],
)
def test_impossible_values_are_refused(tmp_path, before, after, problem):
    text = text_of("smollm2-cut")
    assert before in text
    with pytest.raises(RecipeError, match=problem):
        load_recipe(write(tmp_path / "recipe.toml", text.replace(before, after)))


def test_cut_needs_phrases(tmp_path):
    with pytest.raises(RecipeError, match="needs phrases"):
        load_recipe("smollm2-rmu", ['method="cut"'])


def test_a_missing_recipe_lists_those_that_ship():
    with pytest.raises(RecipeError, match="smollm2-rmu"):
        load_recipe("nothing")


def test_values_can_be_replaced_and_the_digest_follows():
    shipped = load_recipe("zephyr-7b-beta")
    config = load_recipe(
        "zephyr-7b-beta",
        ["seed = 1", "trained_layers=[7]", "alpha=9.0", "topics.1.coefficient=3"],
    )
    assert isinstance(config, RunConfig)
    assert (config.seed, config.trained_layers) == (1, (7,))
    assert [topic.alpha for topic in config.topics] == [9.0, 9.0]
    assert [topic.coefficient for topic in config.topics] == [6.5, 3.0]
    assert isinstance(config.topics[1].coefficient, float)
    assert config.as_json()["seed"] == 1
    assert config.digest != shipped.digest
    assert load_recipe("zephyr-7b-beta").digest == shipped.digest


def test_a_baseline_has_an_alpha_of_its_own():
    config = load_recipe("smollm2-ssd", ["alpha=30", "max_tokens=32"])
    assert isinstance(config, SsdConfig)
    assert config.alpha == 30.0
    assert [topic.max_tokens for topic in config.topics] == [32]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("seed", "no key=value"),
        ("seed=", "no key=value"),
        ("sead=1", "unknown key: sead"),
        ("topics.2.alpha=1", "there are 2 topics"),
        ("topics.x.alpha=1", "there are 2 topics"),
        ("topics.0.alfa=1", "unknown key: alfa"),
        ("learning_rate=nan", "learning_rate must be a finite number"),
        ("topics.0.alpha=inf", "alpha must be a finite number"),
        ("coefficient=-inf", "coefficient must be a finite number"),
        pytest.param(f"alpha=1{'0' * 400}", "alpha must be a finite number", id="400 digits"),
    ],
)
def test_wrong_replacements_are_refused(override, problem):
    with pytest.raises(RecipeError, match=problem):
        load_recipe("zephyr-7b-beta", [override])
