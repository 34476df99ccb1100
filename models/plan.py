"""Plans: evaluation runs, announced before they start, in an append-only chain for each family.

    store/plans/<family>/000001.dsse.json, 000002.dsse.json, …

Each plan holds the digest of the one before, so a plan that is changed, left out or replaced breaks
the chain, and nothing of that family passes the gate. A plan counts as an attempt whether or not a
report follows. What the chain cannot show by itself is that its newest plans were deleted; a stored
report that names a missing plan shows that (`models.evidence`).

The order is the chain's; a time is what its evaluator's clock said. Where two plans' times say
another order than the chain, one of the clocks was wrong, and neither plan carries a report, unless
whoever judges sees by their own clock that the other one was ahead.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from models.depth import DEPTH_SUITE
from models.documents import Digest, Document, Instant, Name, write_bytes
from models.errors import DocumentError, SignatureError
from models.policy import Policy
from models.signing import peek, seal, unseal
from models.store import CheckpointStore
from models.trust import TrustStore


class Plan(Document):
    """A run that is announced: what it will measure, and by which policy it is to be judged."""

    schema_version: Literal[1] = 1
    family: Name
    number: int = Field(ge=1)
    """Its place in the family's chain."""
    base: Digest
    candidate: Digest
    suite: Name
    subsets: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Every subset that the report will hold, sorted: none can be left out afterwards."""
    policy: Digest
    window_days: int = Field(ge=1)
    """The policy's."""
    attempt: int = Field(ge=1)
    """1 + the plans on the same family and base in the window before it."""
    previous: Digest | None
    announced_at: Instant


def announce(
    store: CheckpointStore,
    trust: TrustStore,
    key: Ed25519PrivateKey,
    policy: Policy,
    *,
    family: str,
    base: Digest,
    candidate: Digest,
    suite: str,
    subsets: tuple[str, ...],
    now: datetime,
    newest_was_ahead: bool = False,
) -> Plan:
    """Append a plan to its family's chain and return it.

    Args:
        store: Where the chain is.
        trust: Whose signatures count: a plan by anybody else would break the chain for good.
        key: The evaluator's.
        policy: What the report is to be judged by; another one needs another plan.
        family: The candidate's family.
        base: The candidate's base.
        candidate: What will be measured.
        suite: By what.
        subsets: The names of all subsets that the report will hold.
        now: The moment; the run must start after it.
        newest_was_ahead: Whether the newest plan may be of a later moment: its clock was ahead.

    Raises:
        SignatureError: The key is no trusted evaluator's at this moment; nothing is announced.
        DocumentError: The chain is broken, or `now` is before its newest plan, unless that is said.
    """
    while True:
        chain = read_chain(store, family)
        plan = Plan(
            family=family,
            number=len(chain) + 1,
            base=base,
            candidate=candidate,
            suite=suite,
            subsets=tuple(sorted(subsets)),
            policy=policy.document_digest,
            window_days=policy.statistics.window_days,
            attempt=1 + _attempts_before(chain, base, now, policy.statistics.window_days),
            previous=chain[-1].document_digest if chain else None,
            announced_at=now,
        )
        path = _directory(store, family) / f"{plan.number:06d}.dsse.json"
        if chain and now < chain[-1].announced_at and not newest_was_ahead:
            raise DocumentError(
                path,
                f"would be announced before the plan that it follows, of {chain[-1].announced_at}: "
                "put this clock right; if that one was ahead, `airlock evaluate --clock-was-ahead`",
            )
        sealed = seal(plan, [key])
        try:
            unseal(sealed, Plan, trust, "evaluator", threshold=1, now=now)
        except SignatureError as error:
            raise SignatureError(
                f"nothing was announced: {error}; `airlock trust add` the key with --role evaluator"
            ) from error
        try:
            write_bytes(path, sealed, replace=False)
        except FileExistsError:
            continue  # Another run was announced meanwhile; this one is the attempt after it.
        return plan


def read_chain(store: CheckpointStore, family: str) -> list[Plan]:
    """Return a family's plans, oldest first; who signed them is not asked.

    Raises:
        DocumentError: A plan is damaged, missing, doubled, out of order or miscounts its attempt.
    """
    chain: list[Plan] = []
    for number, path in enumerate(_paths(store, family), start=1):
        try:
            plan = peek(path.read_bytes(), Plan)
        except (SignatureError, OSError) as error:
            raise DocumentError(path, str(error)) from error
        if path.name != f"{number:06d}.dsse.json" or (plan.family, plan.number) != (family, number):
            raise DocumentError(path, f"is not the plan {number} of {family}: one is missing")
        if plan.previous != (chain[-1].document_digest if chain else None):
            raise DocumentError(path, "does not follow the plan before it: the chain is broken")
        before = _attempts_before(chain, plan.base, plan.announced_at, plan.window_days)
        if plan.attempt != before + 1:
            raise DocumentError(path, f"says attempt {plan.attempt}, but it is {before + 1}")
        chain.append(plan)
    return chain


def verify_chain(store: CheckpointStore, trust: TrustStore, family: str) -> list[Plan]:
    """Return a family's plans, each signed by an evaluator that was trusted when it was announced.

    A key that was revoked since then still counts here: the attempt was made, and forgetting it
    would only help who made it. The plan of the report itself is held to more (`models.evidence`).

    Raises:
        DocumentError: As `read_chain`, or a plan is not signed by an evaluator.
    """
    chain = read_chain(store, family)
    for path, plan in zip(_paths(store, family), chain, strict=True):
        signed_by(path, plan, trust.ever())
    return chain


def signed_by(path: Path, plan: Plan, trust: TrustStore) -> None:
    """Check that an evaluator of `trust` signed a plan.

    Raises:
        DocumentError: None did.
    """
    try:
        unseal(path.read_bytes(), Plan, trust, "evaluator", threshold=1, now=plan.announced_at)
    except (SignatureError, OSError) as error:
        raise DocumentError(path, str(error)) from error


def contradicting(chain: Sequence[Plan], plan: Plan, now: datetime) -> Plan | None:
    """Return a plan whose time and a given one's say another order than their chain, if any.

    One that lies after `now` does not count: its clock was ahead, and this one's need not have been
    wrong. Among all others nobody can tell who dated a plan back, so that what was measured before
    it was announced, or an attempt, would not show.
    """
    return next(
        (
            other
            for other in chain
            if other.announced_at <= now
            and (other.number < plan.number) == (other.announced_at > plan.announced_at)
            and other.announced_at != plan.announced_at
        ),
        None,
    )


def plan_path(store: CheckpointStore, plan: Plan) -> Path:
    """Return where a plan is stored."""
    return _directory(store, plan.family) / f"{plan.number:06d}.dsse.json"


def _attempts_before(chain: list[Plan], base: Digest, moment: datetime, days: int) -> int:
    since = moment - timedelta(days=days)
    attempts, latest = 0, since
    for plan in chain:
        # One that was dated back is as late as any before it, or it would leave the window early.
        # A clock that was ahead of `moment` keeps its own plan in the window, and no other.
        if plan.announced_at <= moment:
            latest = max(latest, plan.announced_at)
        # Attacking weights is not another try at passing, so its runs spend nothing.
        if plan.base == base and plan.suite != DEPTH_SUITE:
            attempts += max(plan.announced_at, latest) > since
    return attempts


def _directory(store: CheckpointStore, family: str) -> Path:
    return store.root / "plans" / family


def _paths(store: CheckpointStore, family: str) -> list[Path]:
    """Return everything in a family's directory but what a running write has not renamed yet."""
    directory = _directory(store, family)
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if not path.name.startswith(".new-"))
