"""Evidence: what the gate judges, collected from disk and checked for who signed it.

Reads the report, the chain of plans, the waivers and the attack results. What is wrong with the
evidence becomes a fault, and a fault makes the verdict INVALID: nothing is left out silently.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from models.depth import DEPTH_SUITE, Key, attack_key
from models.documents import Digest
from models.errors import CheckpointNotFoundError, DocumentError, RegistryError, SignatureError
from models.gate import CLOCK_SKEW, Facts
from models.manifest import Manifest
from models.plan import Plan, contradicting, plan_path, read_chain, signed_by, verify_chain
from models.report import AttackResult, Profile, Report
from models.signing import peek, unseal
from models.store import SEALED, CheckpointStore
from models.trust import TrustStore, read_trust, trust_path
from models.waiver import waivers_in_force


@dataclass(frozen=True)
class Evidence:
    """A report and what else the gate must know of it."""

    report: Report
    facts: Facts


def collect(
    store: CheckpointStore,
    trust: TrustStore,
    report: Digest,
    now: datetime,
    profile: Profile | None,
    *,
    released: Digest | None = None,
) -> Evidence:
    """Collect the evidence on a stored report.

    Args:
        store: Where everything is.
        trust: Whose signatures count.
        report: Which report.
        now: The moment at which keys, waivers and reports must be valid.
        profile: How the candidate is to be served; None when that is not decided yet.
        released: The checkpoint that is released now, whose attack results must not be exceeded.

    Raises:
        CheckpointNotFoundError: The store has no such report, or not its candidate.
        DocumentError: The report cannot be read at all.
    """
    path = store.report_path(report)
    if not path.exists():
        raise CheckpointNotFoundError(f"report {report}")
    found = collect_file(store, trust, path, now, profile, released=released)
    if found.report.document_digest != report:
        raise DocumentError(path, "holds another report than its name says")
    return found


def collect_file(
    store: CheckpointStore,
    trust: TrustStore,
    path: Path,
    now: datetime,
    profile: Profile | None,
    *,
    released: Digest | None = None,
) -> Evidence:
    """Collect the evidence on a report in any file, signed or not; see `collect`."""
    report, faults = _open(path, trust, now)
    hazards, lineage_faults = _lineage(store, report)
    faults += lineage_faults
    plan, plan_faults = _plan(store, trust, report, now)
    faults += plan_faults
    attacks, attack_faults = _attacks(store, trust, report.candidate, now)
    faults += attack_faults
    earlier: tuple[AttackResult, ...] = ()
    if released is not None and released != report.candidate:
        # By its name alone: after a change of items or code, attacking the released checkpoint anew
        # takes the place of what could never be compared again.
        earlier, earlier_faults = _attacks(store, trust, released, now, by_setting=False)
        faults += earlier_faults
    return Evidence(
        report,
        Facts(
            hazards=hazards,
            profile=profile,
            plan=plan,
            attempts=plan.attempt if plan else 0,
            waivers=waivers_in_force(store, trust, now),
            now=now,
            attacks=attacks,
            released_attacks=earlier,
            corpora=_corpora(store.get(report.candidate)),
            faults=tuple(faults),
        ),
    )


def report_to_judge(store: CheckpointStore, candidate: Digest, now: datetime) -> Digest | None:
    """Return the newest report on a candidate that is no depth report; None without any.

    The newest decides: an older, better one must not outvote what was measured since. One that lies
    in the future, by a clock that was ahead, stays the newest until a later plan is carried out.

    Raises:
        DocumentError: A stored report cannot be read; it might be the one that forbids.
    """
    mine = [report for report in store.reports_for(candidate) if report.suite != DEPTH_SUITE]
    timely = [report for report in mine if report.ended_at <= now + CLOCK_SKEW]
    if len(timely) < len(mine):
        chain = read_chain(store, store.get(candidate).family)
        numbers = {plan.document_digest: plan.number for plan in chain}
        last = max(mine, key=lambda report: numbers.get(report.plan or "", 0))
        mine = timely if last in timely else mine
    return mine[-1].document_digest if mine else None


def find_report(store: CheckpointStore, name: str) -> Path:
    """Return the file that `name` means: a path, or a unique prefix of a stored report's digest.

    Raises:
        CheckpointNotFoundError: There is no such file, and none or several stored reports match.
    """
    return Path(name) if Path(name).is_file() else store.report_path(store.resolve_report(name))


def trust_or_none(home: Path) -> TrustStore:
    """Return the trust store under `home`; where there is none, nothing is trusted.

    Raises:
        DocumentError: It is damaged.
    """
    return read_trust(home) if trust_path(home).exists() else TrustStore(keys=())


def _open(path: Path, trust: TrustStore, now: datetime) -> tuple[Report, list[str]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DocumentError(path, error.strerror or str(error)) from error
    try:
        return unseal(raw, Report, trust, "evaluator", threshold=1, now=now), []
    except SignatureError as error:
        fault = f"the report is not signed by a trusted evaluator: {error}"
    try:
        return peek(raw, Report), [fault]
    except SignatureError:
        pass
    try:
        return Report.model_validate_json(raw), ["the report is not signed"]
    except ValidationError as error:
        raise DocumentError(path, "is no report, signed or not") from error


def _lineage(store: CheckpointStore, report: Report) -> tuple[tuple[str, ...], list[str]]:
    manifest = store.get(report.candidate)
    faults = []
    if manifest.lineage is None:
        faults.append("the candidate is a base, from which nothing was unlearned")
    elif manifest.lineage.base != report.base:
        faults.append("the report compares the candidate with a checkpoint that is not its base")
    if manifest.family != report.family:
        faults.append(f"the candidate is of the family {manifest.family}, not {report.family}")
    try:
        base = store.get(report.base)
    except RegistryError as error:
        faults.append(f"the base's manifest cannot be read: {error}")
    else:
        # No digest covers a manifest: the candidate's alone must not decide what is asked for.
        if (base.family, base.hazards) != (manifest.family, manifest.hazards):
            faults.append("the candidate's family and hazards are not those of its base")
    return manifest.hazards, faults


def _corpora(candidate: Manifest) -> dict[str, Digest]:
    """Return the digests of the texts that a candidate was made with; a base has none."""
    lineage = candidate.lineage
    return {name: corpus.digest for name, corpus in lineage.corpora.items()} if lineage else {}


def _plan(
    store: CheckpointStore, trust: TrustStore, report: Report, now: datetime
) -> tuple[Plan | None, list[str]]:
    """Return the plan that a report names, and what is wrong with the chain that it is part of."""
    try:
        chain = verify_chain(store, trust, report.family)
        plans = {plan.document_digest: plan for plan in chain}
        plan = plans.get(report.plan or "")
        if plan is not None:
            # Its key must not have been revoked since then, unlike those of earlier attempts.
            signed_by(plan_path(store, plan), plan, trust)
        family = _reports_of(store, report.family)
    except RegistryError as error:
        return None, [f"the plans of {report.family} cannot be relied on: {error}"]
    faults = []
    if any(other.plan is not None and other.plan not in plans for other in family):
        faults.append("a stored report names a plan that is no longer in the chain")
    if plan is not None and any(
        other.plan == report.plan and other.document_digest != report.document_digest
        for other in family
    ):
        faults.append("another report carries out the same plan: each run needs its own")
    other = None if plan is None else contradicting(chain, plan, now + CLOCK_SKEW)
    if plan is not None and other is not None:
        faults.append(
            f"plan {plan.number} is of {plan.announced_at}, plan {other.number} of "
            f"{other.announced_at}: one of their clocks was wrong, so neither carries a report"
        )
    return plan, faults


def _attacks(
    store: CheckpointStore,
    trust: TrustStore,
    candidate: Digest,
    now: datetime,
    *,
    by_setting: bool = True,
) -> tuple[tuple[AttackResult, ...], list[str]]:
    """Return the newest result of each attack (in each setting), and what is wrong with them."""
    found: dict[Key | tuple[str, str], AttackResult] = {}
    faults = []
    for report in store.reports_for(candidate):
        if report.suite != DEPTH_SUITE:
            continue
        try:
            raw = store.report_path(report.document_digest).read_bytes()
            unseal(raw, Report, trust, "evaluator", threshold=1, now=now)
        except SignatureError as error:
            faults.append(f"a depth report is not signed by a trusted evaluator: {error}")
        for attack in report.attacks:
            found[attack_key(attack) if by_setting else (attack.attack, attack.domain)] = attack
    return tuple(found.values()), faults


def _reports_of(store: CheckpointStore, family: str) -> list[Report]:
    paths = sorted((store.root / "reports").glob(f"*{SEALED}"))
    reports = [store.get_report(f"sha256:{path.name.removesuffix(SEALED)}") for path in paths]
    return [report for report in reports if report.family == family]
