"""A run: what is measured in which profile, and the lane on which its likelihoods are computed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.documents import Digest
from models.report import Profile
from models.store import CheckpointStore
from unlearn.evaluation.answers import Scorer
from unlearn.evaluation.tasks import Task

OnProgress = Callable[[Digest, int], None]
"""Told a checkpoint, and how many of its likelihoods are known."""


@dataclass(frozen=True)
class Run:
    """What is measured, and in which profile."""

    family: str
    base: Digest
    candidate: Digest
    suite: str
    tasks: tuple[Task, ...]
    profile: Profile
    is_limited: bool = False
    """Whether only some items of each subset are asked: to try something out, never evidence."""

    @property
    def checkpoints(self) -> tuple[Digest, Digest]:
        """Base and candidate."""
        return (self.base, self.candidate)

    def report_path(self, store: CheckpointStore, cache: Path, report: Digest) -> Path:
        """Return where the run's report is: in the store, where the gate looks, if it is whole."""
        path = store.report_path(report)
        return cache / "limited" / path.name if self.is_limited else path


@dataclass(frozen=True)
class Lane:
    """How likelihoods are computed."""

    scorers: Mapping[Digest, Callable[[], Scorer]]
    """Made when a checkpoint's turn comes, and only if an answer of it is not known yet."""
    max_length: int
    """Tokens that the engine takes."""
    at_once: int
    """Checkpoints that are asked at the same time."""
