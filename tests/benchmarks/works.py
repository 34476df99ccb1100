"""What is done in fresh processes: a few steps plainly and by the engine, and a whole run."""

import shutil
from pathlib import Path

import torch

from models.store import CheckpointStore
from tests.benchmarks.engine import Job, feeds, take_steps, whole_run
from tests.benchmarks.plain import PlainModels
from tests.benchmarks.random_models import BILLION, LARGE, random_base, random_texts

STEPS = 2
WORDS = 16
# bf16, as the paper's presets run: two models of a billion parameters, in both ways.
JOB = Job(
    method="rmu",
    forget=random_texts(4, WORDS),
    retain=random_texts(4, WORDS),
    steps=STEPS,
    batch_size=2,
    learning_rate=5e-5,
    dtype="bfloat16",
)


def plain_steps(directory: Path) -> None:
    """Take the steps with two whole models."""
    store = CheckpointStore(directory / "store")
    checkpoint = store.path(random_base(store, BILLION).digest)
    given = list(feeds(JOB, checkpoint))  # Before the models are there, lest it adds to them.
    plain = PlainModels(
        checkpoint,
        layer=JOB.layer,
        trained=JOB.tensors,
        learning_rate=JOB.learning_rate,
        dtype=torch.bfloat16,
    )
    for feed in given:
        plain.step(feed)


def engine_steps(directory: Path) -> None:
    """Take the same steps on the engine."""
    store = CheckpointStore(directory / "store")
    take_steps(JOB, store.path(random_base(store, BILLION).digest))


def large_run(directory: Path) -> None:
    """Unlearn the large checkpoint and store what comes out."""
    store = CheckpointStore(directory / "store")
    made = whole_run(JOB, store, random_base(store, LARGE).digest, directory)
    shutil.rmtree(store.path(made.digest))  # Another run shall write it again.


WORKS = {"plain-steps": plain_steps, "engine-steps": engine_steps, "large-run": large_run}
