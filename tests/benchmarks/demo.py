"""The demo's model: its base, fetched when it is not there, and what recipes do to it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from models.report import ItemResult
from models.store import CheckpointStore, read_report
from unlearn.config import RECIPES
from unlearn.evaluation.capitals import DATA

FAMILY = "smollm2"


class Scores(NamedTuple):
    """Shares of right answers."""

    base_hazard: float
    base_general: float
    hazard: float
    general: float


def demo_base(home: Path) -> Path:
    """Return the directory of the demo's base checkpoint.

    It is fetched, checked and converted by `airlock unlearn fetch` when the store does not have it.
    """
    store = CheckpointStore(home / "store")
    found = [m.digest for m in store.manifests() if m.is_base and m.family == FAMILY]
    return store.path(found[0] if found else verb(home, "unlearn", "fetch"))


def demo_texts(name: str) -> tuple[str, ...]:
    """Return the texts of the demo's corpus `forget` or `retain`."""
    lines = (DATA / f"{name}.jsonl").read_text().splitlines()
    return tuple(json.loads(line)["text"] for line in lines)


def recipe_ships(recipe: str) -> bool:
    """Whether there is a recipe of that name."""
    return (RECIPES / f"{recipe}.toml").exists()


def run_recipe(home: Path, recipe: str) -> Scores:
    """Unlearn the demo's base by a recipe and measure both, through the verbs."""
    demo_base(home)
    candidate = verb(home, "unlearn", "run", recipe)
    report = read_report(Path(verb(home, "evaluate", candidate)))
    hazard = [subset for subset in report.subsets if subset.kind == "hazard"]
    general = [subset for subset in report.subsets if subset.kind == "utility"]
    return Scores(
        _share([subset.base for subset in hazard]),
        _share([subset.base for subset in general]),
        _share([subset.candidate for subset in hazard]),
        _share([subset.candidate for subset in general]),
    )


def verb(home: Path, *words: str) -> str:
    """Run an `airlock` verb and return what it printed; its progress goes to standard error."""
    airlock = [str(Path(sys.executable).with_name("airlock")), "--home", str(home)]
    done = subprocess.run([*airlock, *words], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def _share(answers: Sequence[Sequence[ItemResult]]) -> float:
    right = [item.correct for subset in answers for item in subset]
    return sum(right) / len(right)
