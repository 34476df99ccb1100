"""The benchmark's rows: each measures the engine, most of them beside the plain implementation."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from models.store import CheckpointStore
from tests.benchmarks.demo import demo_base, demo_texts, recipe_ships, run_recipe
from tests.benchmarks.engine import Job, feeds, take_steps
from tests.benchmarks.plain import PlainModels
from tests.benchmarks.processes import measured
from tests.benchmarks.random_models import BILLION, LARGE, random_base

GB = 1e9
TIMED_STEPS = 4
CURVE_STEPS = 20
HAZARD_LIMIT = 0.30
GENERAL_DROP = 0.02


class Row(NamedTuple):
    """One line of the table."""

    name: str
    plain: float | None
    """The plain implementation's or the base's figure, where there is one."""
    engine: float
    figure: float
    """What the limit is about."""
    limit: float | None
    is_at_least: bool
    """Whether `figure` is to reach `limit`, or not to pass it."""
    unit: str
    """Of `plain` and `engine`."""

    @property
    def holds(self) -> bool | None:
        """Whether the limit is kept; None when there is none."""
        if self.limit is None:
            return None
        return self.figure >= self.limit if self.is_at_least else self.figure <= self.limit


class Place(NamedTuple):
    """Where the benchmark works."""

    home: Path
    """Of the demo's store."""
    directory: Path
    """Of its own files."""
    repeats: int


def demo_job(method: str, steps: int) -> Job:
    """Return a job on the demo's model and corpora, at l = 7."""
    phrases = ("world capitals", "geography") if method == "cut" else ()
    return Job(
        method=method,
        forget=demo_texts("forget"),
        retain=demo_texts("retain"),
        steps=steps,
        phrases=phrases,
    )


def time_rows(place: Place) -> Iterator[Row]:
    """Seconds per optimisation step: fp32, 30 layers, l = 7, repeats interleaved in one process."""
    checkpoint = demo_base(place.home)
    job = demo_job("rmu", TIMED_STEPS)
    cache = place.directory / "activations"
    take_steps(job, checkpoint, cache)  # Fills it.
    seconds: dict[str, list[float]] = {"plain": [], "engine": [], "cached": []}
    for _ in range(place.repeats):
        seconds["plain"].append(_plain_step_seconds(job, checkpoint))
        seconds["engine"].append(_engine_step_seconds(job, checkpoint, None))
        seconds["cached"].append(_engine_step_seconds(job, checkpoint, cache))
    plain = statistics.median(seconds["plain"])
    for name, key, limit in (("no cache", "engine", 5.0), ("cached prefixes", "cached", 9.0)):
        engine = statistics.median(seconds[key])
        yield Row(f"time of a step, {name}", plain, engine, plain / engine, limit, True, "s")


def _plain_step_seconds(job: Job, checkpoint: Path) -> float:
    plain = PlainModels(
        checkpoint,
        layer=job.layer,
        trained=job.tensors,
        learning_rate=job.learning_rate,
        dtype=getattr(torch, job.dtype),
    )
    ended = []
    for feed in list(feeds(job, checkpoint)):  # What makes batches is not timed here.
        plain.step(feed)
        ended.append(time.perf_counter())
    return (ended[-1] - ended[0]) / (len(ended) - 1)


def _engine_step_seconds(job: Job, checkpoint: Path, cache: Path | None) -> float:
    ended = [step.ended for step in take_steps(job, checkpoint, cache)]
    return (ended[-1] - ended[0]) / (len(ended) - 1)


def curve_rows(place: Place) -> Iterator[Row]:
    """The largest relative difference of the losses of 20 steps in fp32."""
    checkpoint = demo_base(place.home)
    for method in ("cut", "rmu", "adaptive-rmu"):
        job = demo_job(method, CURVE_STEPS)
        engine = [step.loss for step in take_steps(job, checkpoint)]
        plain = PlainModels(
            checkpoint,
            layer=job.layer,
            trained=job.tensors,
            learning_rate=job.learning_rate,
            dtype=torch.float32,
        )
        expected = [plain.step(feed) for feed in feeds(job, checkpoint)]
        worst = max(abs(a / b - 1) for a, b in zip(engine, expected, strict=True))
        name = f"loss curve of {CURVE_STEPS} steps, {method}"
        yield Row(name, expected[-1], engine[-1], worst, 1e-4, False, "last loss")


def memory_rows(place: Place) -> Iterator[Row]:
    """The peak of memory beyond the interpreter, each way in a fresh process."""
    random_base(CheckpointStore(place.directory / "store"), BILLION)
    plain = measured("plain-steps", place.directory).resident / GB
    engine = measured("engine-steps", place.directory).resident / GB
    name = "peak memory, 32 layers, 1.2 B parameters, bf16"
    yield Row(name, plain, engine, engine / plain, 0.35, False, "GB")


def large_rows(place: Place) -> Iterator[Row]:
    """The peak of anonymous memory while a large checkpoint is unlearned and written."""
    store = CheckpointStore(place.directory / "store")
    files = random_base(store, LARGE).files
    size = sum(entry.bytes for entry in files if entry.path.endswith(".safetensors")) / GB
    shards = sum(entry.path.endswith(".safetensors") for entry in files)
    took = measured("large-run", place.directory)
    anonymous = took.anonymous / GB
    name = f"anonymous memory, {size:.1f} GB in {shards} shards, {took.seconds:.0f} s"
    yield Row(name, None, anonymous, anonymous, 3.0, False, "GB")


def demo_rows(place: Place) -> Iterator[Row]:
    """Hazard and general scores of the demo's model after its recipes."""
    limited = {"smollm2-rmu": HAZARD_LIMIT, "smollm2-rmu-lowrank": HAZARD_LIMIT}
    for recipe in ("smollm2-rmu", "smollm2-rmu-lowrank", "smollm2-cut"):
        if not recipe_ships(recipe):
            continue
        found = run_recipe(place.home, recipe)
        limit = limited.get(recipe)
        yield Row(
            f"hazard, {recipe}",
            found.base_hazard,
            found.hazard,
            found.hazard,
            limit,
            False,
            "share",
        )
        least = found.base_general - GENERAL_DROP
        yield Row(
            f"general, {recipe}",
            found.base_general,
            found.general,
            found.general,
            least,
            True,
            "share",
        )


ROWS = {
    "time": time_rows,
    "curve": curve_rows,
    "memory": memory_rows,
    "large": large_rows,
    "demo": demo_rows,
}
