"""GA4GH Passport visas as evidence: what a type says here, and whether its conditions hold. Pure.

Source: https://ga4gh.github.io/data-security/ga4gh-passport (1.2.1). A visa never gives a right
here; what is verified by which kind, asserted by whom, is the table in `evidence`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from urllib.parse import unquote

from gateway.policy.evidence import AssertedBy, EvidenceKind

KINDS: Mapping[str, EvidenceKind] = {
    "AffiliationAndRole": EvidenceKind.AFFILIATION_VISA,
    "ResearcherStatus": EvidenceKind.RESEARCHER_VISA,
    "ControlledAccessGrants": EvidenceKind.ACCESS_VISA,
    "AcceptedTermsAndPolicies": EvidenceKind.TERMS_VISA,
}
LINKED = "LinkedIdentities"
MAX_CLAUSES = 64
Identity = tuple[str, str]
"""Issuer and subject."""


@dataclass(frozen=True)
class Visa:
    """A visa whose signature and moments hold."""

    identity: Identity
    type: str
    value: str
    source: str
    by: AssertedBy
    asserted_at: datetime
    expires_at: datetime
    digest: str
    """Of the signed text."""
    conditions: object = None

    def linked(self) -> frozenset[Identity]:
        """Return the identities that it says are one person's, its own among them."""
        if self.type != LINKED:
            return frozenset()
        found = {self.identity}
        for each in self.value.split(";"):
            subject, comma, issuer = each.partition(",")
            if comma and "," not in issuer:
                found.add((unquote(issuer), unquote(subject)))
        return frozenset(found)


def holds(visa: Visa, others: Sequence[Visa]) -> bool:
    """Whether a visa's conditions are met by others, which are about the same person.

    What is not understood is not met, and a visa with conditions meets none.
    """
    if visa.conditions is None or visa.conditions == []:
        return True
    if not isinstance(visa.conditions, list):
        return False
    free = [each for each in others if each.conditions in (None, [])]
    clauses = sum(len(each) for each in visa.conditions if isinstance(each, list))
    if clauses > MAX_CLAUSES:
        return False
    return any(
        isinstance(group, list)
        and bool(group)
        and all(any(_matches(clause, other) for other in free) for clause in group)
        for group in visa.conditions
    )


def _matches(clause: object, visa: Visa) -> bool:
    if not isinstance(clause, dict) or clause.get("type") != visa.type or len(clause) < 2:
        return False
    claims = {"value": visa.value, "source": visa.source, "by": str(visa.by)}
    return all(
        name in claims and _is_like(wanted, claims[name])
        for name, wanted in clause.items()
        if name != "type"
    )


def _is_like(wanted: object, text: str) -> bool:
    if not isinstance(wanted, str) or len(wanted) > 300:
        return False
    kind, _, rest = wanted.partition(":")
    if kind == "const":
        return rest == text
    if kind == "pattern":
        return _fits(rest, text)
    return kind == "split_pattern" and any(_fits(rest, part) for part in text.split(";"))


def _fits(pattern: str, text: str) -> bool:
    """Whether a text fits a pattern of `?` and `*`; in time of their product, whatever they are."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def of_person(visas: Sequence[Visa], identities: frozenset[Identity]) -> frozenset[Identity]:
    """Return which identities of visas are a person's: their own, and those linked to them.

    A link counts from an issuer's own system alone, and reaches one step. Its conditions are met by
    visas about its own identity and the person's, and not by those that it only links.
    """
    mine = set(identities)
    for visa in visas:
        if visa.by is not AssertedBy.SYSTEM or not visa.linked() & identities:
            continue
        if holds(visa, [each for each in visas if each.identity in {visa.identity, *identities}]):
            mine |= visa.linked()
    return frozenset(mine)
