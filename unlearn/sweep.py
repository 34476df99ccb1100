"""A sweep: recipes with several values of some keys; each point is unlearned and measured.

    <out>/points.csv      one row for each point, written as soon as it is known
    <out>/pareto.png      hazard against general ability

A point whose row is there already is skipped, so an interrupted sweep goes on where it stopped.
Nothing enters the checkpoint store: a sweep looks for a recipe, `airlock unlearn run` makes the
candidate.
"""

import csv
import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple, cast

from models.documents import Digest
from models.store import CheckpointStore
from unlearn.baselines.recipe import BaselineConfig
from unlearn.cache import ActivationCache
from unlearn.config import RunConfig, load_recipe
from unlearn.errors import DivergedError, RecipeError
from unlearn.export import write_candidate
from unlearn.plan import Corpora, make_plan
from unlearn.train import StepLog, fit

LAST_STEPS = 10
"""Over so many steps the gauges are averaged: one batch alone says little."""


class Measured(NamedTuple):
    """Right answers of one checkpoint."""

    hazard: int
    hazard_items: int
    general: int
    general_items: int


Measure = Callable[[Path], Measured]
"""Scores the checkpoint in a directory."""


@dataclass(frozen=True)
class Point:
    """One row of a sweep."""

    recipe: str
    digest: str
    """Of the resolved recipe."""
    method: str
    layer: int
    coefficient: float
    alpha: float
    rank: int
    learning_rate: float
    steps: int
    seed: int
    hazard: float
    """Accuracy on the hazard items."""
    hazard_items: int
    general: float
    general_items: int
    forget_norm: float
    """Mean norm of the forget activations at layer l, over the last steps."""
    retain_cosine: float
    """How much the retain activations still point where they did, over the last steps."""
    seconds: float
    """Of unlearning, without measuring."""


class Axis(NamedTuple):
    """A recipe's key and the values that it takes."""

    key: str
    values: tuple[object, ...]


def points(recipes: Sequence[str], axes: Sequence[Axis]) -> list[tuple[str, RunConfig]]:
    """Return every combination of recipes and values, resolved.

    When `layer` varies, the trained layers move with it.

    Raises:
        RecipeError: A recipe cannot be read, or a value does not fit it.
    """
    found = []
    for name in recipes:
        plain = _steered(load_recipe(name), name)
        for values in itertools.product(*(axis.values for axis in axes)):
            chosen = dict(zip((axis.key for axis in axes), values, strict=True))
            if isinstance(chosen.get("layer"), int):
                shift = cast(int, chosen["layer"]) - plain.layer
                chosen["trained_layers"] = [layer + shift for layer in plain.trained_layers]
            # JSON's numbers, texts and flat lists are TOML's too.
            overrides = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
            found.append((name, _steered(load_recipe(name, overrides), name)))
    return found


def sweep(
    todo: Sequence[tuple[str, RunConfig]],
    base: Digest,
    store: CheckpointStore,
    out: Path,
    measure: Measure,
    *,
    corpora_cache: Path,
    token: str | None = None,
    corpora: Corpora | None = None,
    cache: ActivationCache | None,
    on_point: Callable[[int, str, StepLog | None], None],
) -> list[Point]:
    """Unlearn and measure every point that has no row yet; return all rows.

    Args:
        todo: Recipes' names and resolved recipes, as `points` returns them.
        base: The checkpoint to start from.
        store: Where it is.
        out: Where rows are kept.
        measure: Scores a candidate.
        corpora_cache: Where data sets of the hub are kept.
        token: The hub's access token, for gated data sets.
        corpora: Those that have been read; every point takes the same texts.
        cache: Where activations are kept: second points skip the prefix.
        on_point: Told of every step (and once more, without a step, when a point is measured).

    Raises:
        CheckpointCorruptError: The base's bytes have changed.
        TensorNotFoundError: A recipe does not fit the base.
        StoreFullError: No room for a candidate.
    """
    store.verify(base)
    known = {point.digest: point for point in read_points(out)}
    corpora = {} if corpora is None else corpora
    for number, (name, config) in enumerate(todo):
        if config.digest in known:
            on_point(number, "known", None)
            continue
        logs: list[StepLog] = []

        def log(step: StepLog, number: int = number, logs: list[StepLog] = logs) -> None:
            logs.append(step)
            on_point(number, "unlearning", step)

        plan = make_plan(config, base, store, corpora_cache, token, corpora)
        started = time.monotonic()
        try:
            fitted = fit(config, store.path(base), plan.corpora, log, base=base, cache=cache)
        except DivergedError:
            on_point(number, "diverged", None)
            continue
        seconds = time.monotonic() - started
        on_point(number, "measuring", None)
        with store.staging() as staged:
            write_candidate(
                store.path(base), staged, fitted.updated, fitted.factors, fitted.vectors
            )
            measured = measure(staged)
        point = _point(name, config, measured, logs[-LAST_STEPS:], seconds)
        _append(out, point)
        known[config.digest] = point
    return [known[config.digest] for _, config in todo if config.digest in known]


def read_points(out: Path) -> list[Point]:
    """Return the rows that are kept in a directory; a row that was cut off counts as missing."""
    path = out / "points.csv"
    if not path.exists():
        return []
    kinds = {field.name: cast(type, field.type) for field in COLUMNS}
    found = []
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            if None not in row.values() and row.keys() == kinds.keys():
                found.append(Point(**{key: kinds[key](value) for key, value in row.items()}))
    return found


def front(found: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats in both figures, by general ability."""
    return sorted(
        (
            point
            for point in found
            if not any(
                other.hazard <= point.hazard
                and other.general >= point.general
                and (other.hazard, other.general) != (point.hazard, point.general)
                for other in found
            )
        ),
        key=lambda point: point.general,
    )


COLUMNS = fields(Point)


def _steered(config: RunConfig | BaselineConfig, name: str) -> RunConfig:
    if not isinstance(config, RunConfig):
        raise RecipeError(name, f"{config.method} steers no layer; a sweep has nothing to vary")
    return config


def _point(
    name: str, config: RunConfig, measured: Measured, last: Sequence[StepLog], seconds: float
) -> Point:
    topic = config.topics[0]
    return Point(
        recipe=name,
        digest=config.digest,
        method=config.method,
        layer=config.layer,
        coefficient=topic.coefficient,
        alpha=topic.alpha,
        rank=config.rank,
        learning_rate=config.learning_rate,
        steps=config.steps,
        seed=config.seed,
        hazard=round(measured.hazard / measured.hazard_items, 4),
        hazard_items=measured.hazard_items,
        general=round(measured.general / measured.general_items, 4),
        general_items=measured.general_items,
        forget_norm=round(sum(log.forget_norm for log in last) / len(last), 3),
        retain_cosine=round(sum(log.retain_cosine for log in last) / len(last), 5),
        seconds=round(seconds, 3),
    )


def _append(out: Path, point: Point) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / "points.csv"
    written = path.read_bytes() if path.exists() else b""
    with path.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in COLUMNS])
        if not written:
            writer.writeheader()
        elif not written.endswith(b"\n"):
            stream.write("\r\n")  # A row was cut off; the next one is not to be joined to it.
        writer.writerow(asdict(point))
        stream.flush()
        os.fsync(stream.fileno())
