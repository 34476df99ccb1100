"""The baselines' recipes: those that ship load, and what is wrong is named."""

import re
from pathlib import Path

import pytest

from unlearn.baselines.recipe import METHODS
from unlearn.config import RECIPES, load_recipe
from unlearn.errors import RecipeError


@pytest.mark.parametrize("method", METHODS)
def test_the_shipped_recipes_load(method):
    recipe = load_recipe(f"smollm2-{method}")
    assert isinstance(recipe, METHODS[method])
    assert recipe.method == method
    assert [topic.domain for topic in recipe.topics] == ["capitals"]
    assert recipe.steps > 0
    assert recipe.as_json()["topics"] == [
        {
            "domain": "capitals",
            "forget": "builtin:capitals/forget",
            "retain": "builtin:capitals/retain",
            "max_tokens": 64,
            "min_characters": 0,
        }
    ]


@pytest.mark.parametrize(
    ("method", "before", "after", "problem"),
    [
        ("llmu", "steps =", "stepz =", "unknown key: stepz|missing key: steps"),
        ("llmu", "seed = 0\n", "", "missing key: seed"),
        ("llmu", r"mismatches = \d+", "mismatches = 0", "mismatches.*greater than 0"),
        ("llmu", "seed = 0", 'seed = "0"', "seed.*valid integer"),
        ("llmu", "batch_size = 2", "batch_size = true", "batch_size.*valid integer"),
        ("llmu", r"learning_rate = \S+", "learning_rate = nan", "learning_rate"),
        ("scrub", r"max_rounds = \d+", "max_rounds = 1000", "max_rounds is above rounds"),
        ("ssd", "max_tokens", "coefficient", "unknown key: topics.0.coefficient|missing key"),
        ("ssd", r"(?s)\[\[topics\]\].*", "topics = []", "topics.*at least 1"),
        *((method, r"(?s)(\[\[topics\]\].*)", r"\1\n\1", "must be distinct") for method in METHODS),
        ("llmu", "seed = 0", "seed = 2020-01-01", "holds a date"),
        ("ssd", 'domain = "capitals"', 'domain = "../x"', "topics.0.domain"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, method, before, after, problem):
    text = (RECIPES / f"smollm2-{method}.toml").read_text()
    changed = re.sub(before, after, text, count=1)
    assert changed != text
    path = tmp_path / "recipe.toml"
    path.write_text(changed)
    with pytest.raises(RecipeError, match=problem):
        load_recipe(str(path))
