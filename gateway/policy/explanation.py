"""Why somebody is served a checkpoint, or not: the routing rule's answer with its grounds. Pure.

The verdict is `route`'s and `live_domains`' own, never another calculation beside them; what is
added is which rule decided, and what each row contributed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gateway.policy.grants import GrantTerms, Standing, live_domains
from gateway.policy.key_terms import KeyTerms
from gateway.policy.routing import Denied, Family, Routed, Unknown, missing_grants, route

DecidedBy = Literal[
    "unknown_model",
    "key_ended",
    "person_suspended",
    "grant_required",
    "release_withdrawn",
    "forgets_every_hazard",
    "covered_by_grants",
]


@dataclass(frozen=True)
class Ground:
    """What one row contributes."""

    row: str
    """`person:ID`, `key:ID`, `tier:NAME`, `closure`, `grant:ID` or `alias:NAME`."""
    says: str


@dataclass(frozen=True)
class KeyUsed:
    """The key by which somebody asks."""

    id: str
    terms: KeyTerms
    ends_at: datetime | None
    """When it expires or is revoked, whichever is first."""


@dataclass(frozen=True)
class Explanation:
    """A verdict, the rule that decided it, and its grounds."""

    effect: Literal["allow", "deny"]
    rule: DecidedBy
    served: str | None
    """The alias that answers, or would but for its release."""
    missing: tuple[str, ...]
    """The domains for which a grant is missing."""
    grounds: tuple[Ground, ...]


def explain(
    model: str,
    families: Mapping[str, Family],
    withdrawn: Mapping[str, str],
    person: str,
    standing: Standing,
    grants: Sequence[GrantTerms],
    now: datetime,
    key: KeyUsed | None = None,
) -> Explanation:
    """Explain what a person who asks for a model gets at a moment.

    Args:
        model: `family` or `family:label`.
        families: What is promoted.
        withdrawn: Why releases do not count at this moment, by alias.
        person: Their id.
        standing: Their tier and state.
        grants: Every grant of theirs, ended ones too.
        now: The moment.
        key: The key that they use; without, as by a key that is not narrowed.
    """
    grounds = (*_standing(person, standing), *(_grant(terms, now) for terms in grants))
    usable = tuple(grants)
    if key is not None:
        grounds, usable = (_key(key, now), *grounds), key.terms.usable(usable)
        if key.ends_at is not None and key.ends_at <= now:
            return Explanation("deny", "key_ended", None, (), grounds)
    routed = route(model, families, live_domains(standing, usable, now))
    if not standing.is_active:
        return Explanation("deny", "person_suspended", None, (), grounds)
    if isinstance(routed, Unknown):
        return Explanation("deny", "unknown_model", None, (), grounds)
    if isinstance(routed, Denied):
        return Explanation("deny", "grant_required", None, routed.missing, grounds)
    grounds = (*grounds, _alias(families[routed.family], routed))
    if routed.name in withdrawn:
        gone = Ground(f"alias:{routed.name}", withdrawn[routed.name])
        return Explanation("deny", "release_withdrawn", routed.name, (), (*grounds, gone))
    needed = missing_grants(families[routed.family], routed.alias, frozenset())
    rule: DecidedBy = "covered_by_grants" if needed else "forgets_every_hazard"
    return Explanation("allow", rule, routed.name, (), grounds)


def _standing(person: str, standing: Standing) -> tuple[Ground, ...]:
    tier = standing.tier
    holds = "hold grants" if tier.grantable else "hold no grants, whatever the rows say"
    grounds = [
        Ground(f"person:{person}", "active" if standing.is_active else "suspended: no key works"),
        Ground(f"tier:{tier.name}", f"its members {holds}"),
    ]
    if not standing.organisation_active:
        grounds.append(
            Ground(f"person:{person}", "of a suspended organisation: no grant of its people counts")
        )
    closed = standing.closures
    if closed.everything or closed.domains:
        what = "every domain" if closed.everything else ", ".join(sorted(closed.domains))
        grounds.append(Ground("closure", f"closed for everybody's grants: {what}"))
    return tuple(grounds)


def _key(key: KeyUsed, now: datetime) -> Ground:
    terms, says = key.terms, []
    if key.ends_at is not None:
        says.append(f"{'ended' if key.ends_at <= now else 'ends'} at {key.ends_at.isoformat()}")
    if terms.domains is not None:
        domains = ", ".join(sorted(terms.domains)) or "no domain"
        says.append(f"only grants of {domains} count for it")
    if terms.endpoints is not None:
        says.append(f"asks only {', '.join(sorted(terms.endpoints))}")
    if terms.networks is not None:
        says.append(f"used only from {', '.join(map(str, terms.networks))}")
    return Ground(f"key:{key.id}", "; ".join(says) or "takes nothing from what its owner may do")


def _grant(terms: GrantTerms, now: datetime) -> Ground:
    state = terms.state(now)
    says = f"{terms.domain}: {state}"
    if state == "active":
        says += f" until {terms.ends_at.isoformat()}"
    elif state == "pending":
        says += f", begins at {terms.not_before.isoformat()}"
    elif state == "suspended":
        lapsed = terms.basis.lapsed(now) if terms.basis is not None else ()
        by_hand = ("somebody has suspended it",) if terms.suspended else ()
        says += f", since {' and '.join((*by_hand, *lapsed))}"
    return Ground(f"grant:{terms.id}", says)


def _alias(family: Family, routed: Routed) -> Ground:
    forgotten = ", ".join(sorted(routed.alias.forgets & family.hazards)) or "nothing"
    return Ground(
        f"alias:{routed.name}",
        f"{routed.alias.checkpoint} has forgotten {forgotten}"
        f" of {', '.join(sorted(family.hazards))}",
    )
