"""The one place where the benchmark and the parity test touch the engine.

Everything else here knows a `Job`, the losses with the moments at which steps ended, and the
batches and vectors that those steps took.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import torch

from models.documents import Digest, digest_of
from models.manifest import Manifest
from models.store import CheckpointStore
from tests.benchmarks.plain import Feed, Texts
from unlearn.batches import Batch
from unlearn.cache import ActivationCache
from unlearn.config import ComputeDtype, Method, Numerics, RunConfig, Topic
from unlearn.corpora import Corpus
from unlearn.layers import open_layers
from unlearn.order import draw
from unlearn.plan import TopicCorpora, make_plan
from unlearn.processes import ALONE
from unlearn.topics import ready_topics
from unlearn.train import StepLog, fit, run

CACHE_BYTES = 10**10


class Job(NamedTuple):
    """What is run, by the engine and plainly."""

    method: str
    forget: tuple[str, ...]
    """Texts."""
    retain: tuple[str, ...]
    layer: int = 7
    trained_layers: tuple[int, ...] = (5, 6, 7)
    coefficient: float = 40.0
    alpha: float = 10.0
    learning_rate: float = 2e-3
    steps: int = 20
    batch_size: int = 4
    max_tokens: int = 128
    seed: int = 0
    phrases: tuple[str, ...] = ()
    dtype: str = "float32"
    numerics: str = "masked"

    @property
    def tensors(self) -> tuple[str, ...]:
        """The full names of the trained tensors."""
        return tuple(f"model.layers.{layer}.mlp.down_proj.weight" for layer in self.trained_layers)


class Taken(NamedTuple):
    """A step of the engine."""

    loss: float
    ended: float
    """Seconds, of a clock that only goes forward."""


def take_steps(job: Job, checkpoint: Path, cache: Path | None = None) -> list[Taken]:
    """Run a job on the engine.

    Args:
        job: What to run.
        checkpoint: The base's directory.
        cache: Where activations are kept; None: nowhere.
    """
    taken: list[Taken] = []

    def note(log: StepLog) -> None:
        taken.append(Taken(log.loss, time.perf_counter()))

    kept = ActivationCache(cache, CACHE_BYTES, print) if cache else None
    fit(_recipe(job), checkpoint, _corpora(job), note, base=_base(checkpoint), cache=kept)
    return taken


def feeds(job: Job, checkpoint: Path) -> Iterator[Feed]:
    """Yield what the engine's steps are given, in their order."""
    config = _recipe(job)
    (topic,) = ready_topics(
        config,
        checkpoint,
        open_layers(checkpoint, job.layer, getattr(torch, job.dtype)),
        _corpora(job),
        base=_base(checkpoint),
        group=ALONE,
        cache=None,
        generator=torch.Generator().manual_seed(job.seed),
    )
    for step in range(1, job.steps + 1):
        drawn = draw(config, [topic.sizes], step)
        yield Feed(
            _texts(topic.forget.batches.batch(drawn.forget)),
            _texts(topic.retain.batches.batch(drawn.retain)),
            job.phrases[drawn.phrase] if job.phrases else topic.vectors[drawn.phrase],
            coefficient=topic.coefficient,
            alpha=job.alpha,
            is_shifted=config.target == "shifted",
        )


def whole_run(job: Job, store: CheckpointStore, base: Digest, directory: Path) -> Manifest:
    """Unlearn a stored checkpoint and store the candidate.

    Args:
        job: What to run.
        store: Where the base is and the candidate goes.
        base: The base's digest.
        directory: Where the run may keep files.
    """
    specs = []
    for name, texts in (("forget", job.forget), ("retain", job.retain)):
        path = directory / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        specs.append(f"file:{path}")
    plan = make_plan(_recipe(job, *specs), base, store, directory / "hub")
    return run(plan, store, directory / "run", lambda log: None)


def _recipe(job: Job, forget: str = "file:forget", retain: str = "file:retain") -> RunConfig:
    topic = Topic(
        domain="nothing",
        forget=forget,
        retain=retain,
        coefficient=job.coefficient,
        alpha=job.alpha,
        max_tokens=job.max_tokens,
        min_characters=0,
        phrases=job.phrases,
    )
    return RunConfig(
        method=cast(Method, job.method),
        family="any",
        layer=job.layer,
        trained_layers=job.trained_layers,
        trained_tensors=("mlp.down_proj.weight",),
        rank=0,
        learning_rate=job.learning_rate,
        steps=job.steps,
        batch_size=job.batch_size,
        seed=job.seed,
        compute_dtype=cast(ComputeDtype, job.dtype),
        numerics=cast(Numerics, job.numerics),
        topics=(topic,),
    )


def _corpora(job: Job) -> list[TopicCorpora]:
    forget, retain = (
        Corpus(texts, digest_of(texts), f"file:{name}")
        for name, texts in (("forget", job.forget), ("retain", job.retain))
    )
    return [TopicCorpora(forget, retain)]


def _base(checkpoint: Path) -> Digest:
    return f"sha256:{checkpoint.name}"


def _texts(batch: Batch) -> Texts:
    attention = batch.mask.long() if batch.attention is None else batch.attention
    return Texts(batch.tokens, batch.mask, attention)
