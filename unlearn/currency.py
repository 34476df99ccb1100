"""Whether a stored report is what would be measured now; told without loading a model library."""

from collections.abc import Sequence
from importlib.metadata import version

from models.documents import Digest
from models.engine import native_dtype
from models.report import ItemResult, Profile, Report
from unlearn.suites import Task

HARNESS = "lm-evaluation-harness"


def harness_version() -> str:
    """Return the version of the installed harness."""
    return version("lm-eval")


def current_profile() -> Profile:
    """Return how `unlearn.evaluate` runs weights."""
    versions = f"{version('transformers')}, torch {version('torch')}"
    return Profile(engine="transformers", engine_version=versions, dtype=native_dtype())


def is_current(report: Report, base: Digest, tasks: Sequence[Task]) -> bool:
    """Whether a stored report answers what would be measured now."""
    measured = {(subset.name, subset.dataset.digest) for subset in report.subsets}
    wanted = {(task.name, task.dataset_digest) for task in tasks}
    same_harness = report.harness.version == harness_version()
    same_run = same_harness and report.profile == current_profile()
    return same_run and report.base == base and measured == wanted


def accuracy(items: Sequence[ItemResult]) -> float:
    """Return the share of items that were answered correctly."""
    return sum(item.correct for item in items) / len(items)
