"""The verdict: what the gate says of a report, with every rule's number, limit and reason."""

from typing import Literal

from models.documents import Digest, Document, Instant, Name

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INVALID"]
SEVERITY: tuple[Outcome, ...] = ("INVALID", "FAIL", "INCONCLUSIVE", "PASS")
RuleOutcome = Literal["PASS", "WAIVED", "INCONCLUSIVE", "FAIL", "INVALID"]
"""WAIVED: it failed, and two people have signed an exception that has not expired."""


class RuleResult(Document):
    """One rule on one subset: the number, its limit and what it means."""

    rule: str
    outcome: RuleOutcome
    value: float
    limit: float
    reason: str


class Waived(Document):
    """An exception that the verdict rests on; whoever lists the checkpoint shows it."""

    rule: str
    """SUBSET.RULE."""
    domain: Name | None
    """The hazard domain that is thereby not proven forgotten; None for utility."""
    waiver: Digest
    reason: str
    expires_at: Instant


class Verdict(Document):
    """What the gate says of a report, and every rule that it rests on."""

    outcome: Outcome
    rules: tuple[RuleResult, ...]
    forgets: tuple[Name, ...]
    """The hazard domains that the candidate is proven to have forgotten; empty unless PASS."""
    waived: tuple[Waived, ...]
    candidate: Digest
    report: Digest
    plan: Digest | None
    policy: Digest
    profile: Digest
    """Of the serving profile that was measured; the verdict holds for it alone."""
    attempt: int
    """0: the run was not announced."""
    alpha_spent: float
    """The chance of a wrong PASS that this attempt was given."""
    expires_at: Instant
    """When the report gets too old, or the first waiver that is rested on expires."""

    @property
    def complaint(self) -> str:
        """Every rule that does not hold, with its number and limit, as one line."""
        return "; ".join(
            f"{r.rule} is {r.value:.3f}, limit {r.limit:.3f} ({r.reason})"
            for r in self.rules
            if r.outcome not in ("PASS", "WAIVED")
        )

    @property
    def cleared(self) -> tuple[str, ...]:
        """The domains that may be served as forgotten: proven, or under a waiver in force."""
        if self.outcome != "PASS":
            return ()
        return tuple(sorted({*self.forgets, *(w.domain for w in self.waived if w.domain)}))


def rule(name: str, outcome: RuleOutcome, value: float, limit: float, reason: str) -> RuleResult:
    """Return a rule's result."""
    return RuleResult(rule=name, outcome=outcome, value=value, limit=limit, reason=reason)


def valid(name: str, holds: bool, value: float, limit: float, reason: str) -> RuleResult:
    """Return PASS, or INVALID where the run proves nothing."""
    return rule(name, "PASS" if holds else "INVALID", value, limit, reason)


def bounded(
    name: str, value: float, bound: float, limit: float, reason: str, *, upper: bool = True
) -> RuleResult:
    """Judge by a confidence bound: the value beyond the limit FAIL, only the bound INCONCLUSIVE."""
    sign = 1 if upper else -1
    outcome: Outcome = (
        "PASS"
        if sign * bound <= sign * limit
        else "INCONCLUSIVE"
        if sign * value <= sign * limit
        else "FAIL"
    )
    return rule(name, outcome, bound, limit, reason)
