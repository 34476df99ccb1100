"""Whether a stored report is what would be measured now; told without loading a model library."""

from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version

from models.documents import Digest
from models.engine import native_dtype
from models.plan import contradicting, read_chain
from models.report import ItemResult, Profile, Report
from models.store import CheckpointStore
from unlearn.evaluation.harness import harness_version
from unlearn.evaluation.tasks import Task


def in_process_profile() -> Profile:
    """Return how weights are run where no engine serves them: in this process."""
    versions = f"{version('transformers')}, torch {version('torch')}"
    return Profile(engine="transformers", engine_version=versions, dtype=native_dtype())


def announced_policy(store: CheckpointStore, report: Report, now: datetime) -> Digest | None:
    """Return the policy of a report's plan; None without a plan that carries a report at `now`.

    Raises:
        DocumentError: The family's chain of plans is broken.
    """
    chain = read_chain(store, report.family)
    plan = next((plan for plan in chain if plan.document_digest == report.plan), None)
    return None if plan is None or contradicting(chain, plan, now) else plan.policy


def is_current(
    report: Report,
    base: Digest,
    tasks: Sequence[Task],
    profile: Profile,
    *,
    announced_for: Digest | None,
    policy: Digest | None,
    not_before: datetime,
    now: datetime,
) -> bool:
    """Whether a stored report answers what would be measured now.

    Args:
        report: The stored one.
        base: What the candidate would be compared with.
        tasks: What would be asked.
        profile: How the weights would be run.
        announced_for: The policy that the report's plan names; None without a plan.
        policy: The one that would be announced now; None where nothing can be announced.
        not_before: A report from before this moment is too old for the gate.
        now: One from after it is from a clock that was ahead.
    """
    measured = {
        (subset.name, subset.dataset.digest, subset.prompt.digest) for subset in report.subsets
    }
    wanted = {(task.name, task.dataset.digest, task.prompt_digest) for task in tasks}
    same_run = report.harness.version == harness_version() and report.profile == profile
    same_run = same_run and announced_for == policy and not_before < report.ended_at <= now
    return same_run and report.base == base and measured == wanted


def accuracy(items: Sequence[ItemResult]) -> float:
    """Return the share of items that were answered correctly."""
    return sum(item.correct for item in items) / len(items)
