"""Small checkpoints and reports for tests: real files, a few bytes."""

from datetime import UTC, datetime

from models.manifest import Lineage, Manifest, Source
from models.report import Report
from models.store import CheckpointStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = Source(name="n", package="p", version="1", sha256="0" * 64, license="Apache-2.0")


def put_base(
    store: CheckpointStore,
    weights: bytes,
    *,
    hazards: tuple[str, ...] = ("capitals",),
    created_at: datetime = NOW,
) -> Manifest:
    with store.staging() as staged:
        (staged / "model.safetensors").write_bytes(weights)
        return store.put(
            staged, family="smollm2", hazards=hazards, source=SOURCE, created_at=created_at
        )


def put_candidate(
    store: CheckpointStore,
    base: str,
    weights: bytes,
    *,
    hazards: tuple[str, ...] = ("capitals",),
) -> Manifest:
    lineage = Lineage(
        base=base,
        method="cut",
        recipe={},
        recipe_digest=base,
        corpora={},
        seed=0,
        steps=1,
        trained_tensors=(),
        code_commit="unknown",
    )
    with store.staging() as staged:
        (staged / "model.safetensors").write_bytes(weights)
        return store.put(staged, family="smollm2", hazards=hazards, lineage=lineage, created_at=NOW)


def put_report(store: CheckpointStore, made: Report, base: str, candidate: str) -> Report:
    report = made.model_copy(update={"base": base, "candidate": candidate})
    store.put_report(report)
    return report
