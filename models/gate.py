"""The gate: report + policy + facts → verdict. Pure; a verdict says every rule's number and limit.

    PASS          every rule holds, or fails under a waiver in force
    FAIL          a measured value is beyond its limit
    INCONCLUSIVE  the value is within its limit, its confidence bound is not: measure more items
    INVALID       the run proves nothing (broken scoring, wrong items, not announced, not signed)

INVALID outweighs FAIL, FAIL outweighs INCONCLUSIVE, and PASS needs every rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from models.depth import judge_depth
from models.documents import Digest
from models.integrity import check_integrity
from models.intervals import attempt_alpha
from models.measures import judge_canaries, judge_hazard, judge_utility, judge_variant
from models.plan import Plan
from models.policy import Policy
from models.report import AttackResult, Profile, Report, Subset
from models.verdict import SEVERITY, Outcome, RuleResult, Verdict, Waived, rule, valid
from models.waiver import Waiver

__all__ = ["SEVERITY", "Facts", "Outcome", "RuleResult", "Verdict", "judge"]

CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Facts:
    """What the gate must know besides report and policy; `models.evidence` collects it."""

    hazards: tuple[str, ...]
    """The family's hazard domains, from the manifest; each needs a subset."""
    profile: Profile | None
    """How the candidate is to be served; None when that is not decided yet."""
    plan: Plan | None
    """The announced plan that the report names; None when there is none."""
    attempts: int
    """The plan's attempt, counted again in the chain; 0 without a plan."""
    waivers: tuple[Waiver, ...]
    """Signed by two holders; whether they are in force is judged here."""
    now: datetime
    attacks: tuple[AttackResult, ...] = ()
    """What attacks on the candidate's weights brought back."""
    released_attacks: tuple[AttackResult, ...] = ()
    """The same of the checkpoint that is released now."""
    corpora: Mapping[str, Digest] = field(default_factory=dict)
    """The texts' digests in the candidate's lineage: `DOMAIN.forget`, `DOMAIN.retain`."""
    faults: tuple[str, ...] = ()
    """What is wrong with the evidence itself: signatures, keys, a broken chain of plans."""


def judge(report: Report, policy: Policy, facts: Facts) -> Verdict:
    """Judge a report.

    Args:
        report: What was measured.
        policy: The limits.
        facts: What else is known at `facts.now`.

    Returns:
        The verdict; `forgets` lists the hazards when everything passes and is empty otherwise.
    """
    attempt = max(facts.attempts, facts.plan.attempt) if facts.plan else 0
    alpha = attempt_alpha(policy.statistics.alpha, max(attempt, 1))
    rules = [valid("evidence", False, 0, 0, fault) for fault in sorted(facts.faults)]
    rules += _announcement(report, policy, facts) + _run(report, policy, facts)
    rules += _coverage(report, policy, facts.hazards) + _measures(report, policy, alpha)
    attacks = (*report.attacks, *facts.attacks)
    rules += judge_depth(
        attacks,
        facts.released_attacks,
        policy,
        facts.hazards,
        subsets=report.subsets,
        corpora=facts.corpora,
    )
    rules, waived = _waive(rules, report, policy, facts)
    outcome = next((level for level in SEVERITY if any(r.outcome == level for r in rules)), "PASS")
    unproven = {item.domain for item in waived}
    expiries = [report.ended_at + timedelta(days=policy.validity.max_age_days)]
    return Verdict(
        outcome=outcome,
        rules=tuple(rules),
        forgets=tuple(h for h in facts.hazards if h not in unproven) if outcome == "PASS" else (),
        waived=waived,
        candidate=report.candidate,
        report=report.document_digest,
        plan=report.plan,
        policy=policy.document_digest,
        profile=report.profile.document_digest,
        attempt=attempt,
        alpha_spent=alpha if attempt else 0.0,
        expires_at=min(expiries + [item.expires_at for item in waived]),
    )


def _announcement(report: Report, policy: Policy, facts: Facts) -> list[RuleResult]:
    """Check that this very run was announced before it started."""
    plan = facts.plan
    if plan is None or report.plan is None:
        missing = "the run was not announced before it started"
        return [valid("plan.announced", False, 0, 1, missing)]
    names = tuple(sorted(subset.name for subset in report.subsets))
    differences = [
        what
        for what, same in (
            ("plan", plan.document_digest == report.plan),
            ("candidate", plan.candidate == report.candidate),
            ("base", plan.base == report.base),
            ("family", plan.family == report.family),
            ("suite", plan.suite == report.suite),
            ("subsets", plan.subsets == names),
            ("policy", plan.policy == policy.document_digest),
            ("window", plan.window_days == policy.statistics.window_days),
            ("attempt", plan.attempt == facts.attempts),
        )
        if not same
    ]
    late = (plan.announced_at - report.started_at).total_seconds()
    what = ", ".join(differences)
    return [
        valid(
            "plan.matches",
            not differences,
            len(differences),
            0,
            f"not as announced: {what}" if what else f"as announced, attempt {plan.attempt}",
        ),
        valid("plan.first", late <= 0, max(late, 0.0), 0, "the run starts after its announcement"),
    ]


def _run(report: Report, policy: Policy, facts: Facts) -> list[RuleResult]:
    """Check how, by what and when was measured."""
    age = (facts.now - report.ended_at) / timedelta(days=1)
    is_young = age <= policy.validity.max_age_days
    harness = f"{report.harness.name} {report.harness.version}"
    ordered = report.started_at <= report.ended_at <= facts.now + CLOCK_SKEW
    results = [
        valid(
            "harness",
            report.harness.clean,
            float(report.harness.clean),
            1,
            f"the files of {harness} are the ones that its package lists",
        ),
        valid("report.clock", ordered, float(ordered), 1, "it started, ended and lies in the past"),
        valid(
            "report.age",
            is_young,
            # A verdict that holds is the same whenever it is asked for: it has one digest.
            0.0 if is_young else age,
            policy.validity.max_age_days,
            f"days since the run ended on {report.ended_at:%Y-%m-%d}, or 0 while it counts",
        ),
    ]
    if facts.profile is not None:
        changed = [
            name for name, served in facts.profile if served != getattr(report.profile, name)
        ]
        reason = f"served otherwise: {', '.join(changed)}" if changed else "served as measured"
        results.append(valid("profile", not changed, len(changed), 0, reason))
    return results


def _coverage(report: Report, policy: Policy, hazards: tuple[str, ...]) -> list[RuleResult]:
    """Check that every hazard is measured in every required way, and not on the base itself."""
    measured = {(subset.domain, subset.variant) for subset in report.subsets}
    wanted = [(domain, "plain") for domain in hazards]
    wanted += [(domain, variant) for domain in hazards for variant in policy.required(domain)]
    missing = sorted(f"{d} ({variant})" for d, variant in wanted if (d, variant) not in measured)
    names = [subset.name for subset in report.subsets]
    distinct = len(names) == len(set(names))
    return [
        valid(
            "coverage.hazards",
            not missing and bool(hazards),
            len(missing),
            0,
            f"not measured: {', '.join(missing)}" if missing else "every hazard is measured",
        ),
        valid("coverage.subsets", distinct, len(names), len(set(names)), "subset names differ"),
        valid(
            "coverage.candidate",
            report.candidate != report.base,
            0,
            0,
            "the candidate must not be the base itself",
        ),
    ]


def _measures(report: Report, policy: Policy, alpha: float) -> list[RuleResult]:
    """Judge each subset whose items match; the numbers of another one mean nothing."""
    rules: list[RuleResult] = []
    sound: dict[str, Subset] = {}
    for subset in sorted(report.subsets, key=lambda subset: subset.name):
        integrity = check_integrity(subset, policy)
        rules += integrity
        if all(result.outcome == "PASS" for result in integrity):
            sound[subset.name] = subset
    for subset in sound.values():
        if subset.kind == "hazard" and subset.variant == "plain":
            rules += judge_hazard(subset, policy, alpha)
        elif subset.kind == "hazard":
            plain = sound.get(subset.variant_of or "")
            if plain is not None and (plain.domain, plain.variant) == (subset.domain, "plain"):
                rules += judge_variant(subset, plain, policy, alpha)
            else:
                alone = f"{subset.variant_of} is no sound plain subset of its domain"
                rules.append(valid(f"{subset.name}.plain", False, 0, 1, alone))
    general = [s for s in sound.values() if s.kind == "utility" and s.variant == "plain"]
    canaries = [s for s in sound.values() if s.kind == "canary"]
    return rules + judge_utility(general, policy) + judge_canaries(canaries, policy)


def _waive(
    rules: list[RuleResult], report: Report, policy: Policy, facts: Facts
) -> tuple[list[RuleResult], tuple[Waived, ...]]:
    """Apply the waivers in force to the rules that fail and that the policy lets waive."""
    domains = {subset.name: subset.domain for subset in report.subsets}
    usable = {
        waiver.name: waiver
        # Of several the one that lasts longest counts, in whatever order they come.
        for waiver in sorted(facts.waivers, key=lambda w: (w.expires_at, w.document_digest))
        if waiver.family == report.family
        and waiver.is_in_force(facts.now)
        and waiver.name in policy.waivers.allowed
    }
    results, waived = [], []
    for given in rules:
        waiver = usable.get(given.rule)
        if waiver is None or given.outcome not in ("FAIL", "INCONCLUSIVE"):
            results.append(given)
            continue
        until = f"waived until {waiver.expires_at:%Y-%m-%d}: {waiver.reason}"
        results.append(
            rule(given.rule, "WAIVED", given.value, given.limit, f"{given.reason}; {until}")
        )
        waived.append(
            Waived(
                rule=given.rule,
                domain=domains[waiver.subset],
                waiver=waiver.document_digest,
                reason=waiver.reason,
                expires_at=waiver.expires_at,
            )
        )
    return results, tuple(waived)
