"""Announced runs that are still open: what a plan's run will do, beside the plan.

A run that was stopped goes on under the plan that it was announced by, so that a power cut costs no
attempt. It must be the same run to the last prompt, in the same profile, from the same answers; the
plan must be the newest of its family, younger than a week, and not carried out. Anything else is
another attempt, and an abandoned plan stays one. What is kept here is not signed: it saves who has
the evaluator's key an attempt, and gives nobody else anything.
"""

from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.documents import Digest, digest_of, write_bytes
from models.errors import SignatureError
from models.plan import Plan, plan_path, read_chain
from models.policy import Policy
from models.signing import signers
from models.store import CheckpointStore
from models.trust import key_id
from unlearn.evaluation.harness import describe
from unlearn.evaluation.runs import Run

RESUMED_WITHIN = timedelta(days=7)


def note(cache: Path, plan: Plan, run: Run) -> None:
    """Keep what the run of a plan will do."""
    write_bytes(_path(cache, plan), identity(run).encode())


def open_plan(
    store: CheckpointStore,
    cache: Path,
    run: Run,
    key: Ed25519PrivateKey,
    policy: Policy,
    now: datetime,
) -> Plan | None:
    """Return the plan under which this very run was announced and not finished; None without one.

    Raises:
        DocumentError: The family's chain of plans is broken.
    """
    chain = read_chain(store, run.family)
    if not chain:
        return None
    plan = chain[-1]
    is_this = (plan.base, plan.candidate, plan.suite) == (run.base, run.candidate, run.suite)
    is_this = is_this and plan.policy == policy.document_digest
    is_young = timedelta(0) <= now - plan.announced_at <= RESUMED_WITHIN
    try:
        keys = signers(plan_path(store, plan).read_bytes())
        noted = _path(cache, plan).read_bytes()
    except (OSError, SignatureError):
        return None
    is_same = noted == identity(run).encode() and key_id(_public(key)) in keys
    is_open = all(one.plan != plan.document_digest for one in store.reports_for(run.candidate))
    return plan if is_this and is_young and is_same and is_open else None


def identity(run: Run) -> Digest:
    """Return the digest of everything that a run's answers depend on."""
    return digest_of(
        {
            "checkpoints": list(run.checkpoints),
            "suite": run.suite,
            "tasks": [[task.name, task.prompt_digest] for task in run.tasks],
            "profile": run.profile.document_digest,
            "harness": describe().digest,
        }
    )


def _path(cache: Path, plan: Plan) -> Path:
    # Beside the candidate's answers: without those a run that goes on would be another one.
    answers = cache / "answers" / plan.candidate.removeprefix("sha256:")
    return answers / f"plan-{plan.document_digest.removeprefix('sha256:')}"


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
