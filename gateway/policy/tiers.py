"""Changes of tiers: which of them only restrict, and who may make them. Pure.

One person restricts, at once; whatever gives anybody more takes two. A change of what is logged is
never a mere restriction: more of it is more about people, less of it less for auditors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from gateway.policy.approval import Duty, Party

LAPSES_AFTER = timedelta(days=30)
PROPOSE = (Duty.ADMINISTRATOR, Duty.OPERATOR, Duty.APPROVER)
APPROVE = (Duty.ADMINISTRATOR, Duty.APPROVER)

Direction = Literal["permits", "restricts", "neither"]


@dataclass(frozen=True)
class Difference:
    """One field of a tier, before and after a change."""

    field: str
    before: object
    after: object
    direction: Direction


def _is_less(before: object, after: object) -> bool:
    return isinstance(before, int) and isinstance(after, int) and after <= before


def _is_part(before: object, after: object) -> bool:
    return isinstance(before, list) and isinstance(after, list) and set(after) <= set(before)


def _asks_more(before: object, after: object) -> bool:
    """Whether everything is still asked for, by no further source."""
    return (
        isinstance(before, Mapping)
        and isinstance(after, Mapping)
        and all(name in after and _is_part(by, after[name]) for name, by in before.items())
    )


def _demands_more(before: object, after: object) -> bool:
    """Whether a login that meets the demand of after would have met the one of before."""
    if not isinstance(before, Mapping):
        return True
    if not isinstance(after, Mapping):
        return False
    narrower = bool(after["acr"]) and _is_part(before["acr"], after["acr"])
    return _is_less(before["max_age"], after["max_age"]) and (narrower or not before["acr"])


RESTRICTS: Mapping[str, Callable[[object, object], bool]] = {
    "grantable": _is_less,
    "capabilities": _is_part,
    "priority": _is_less,
    "max_grant_days": _is_less,
    "requests_per_minute": _is_less,
    "tokens_per_minute": _is_less,
    "tokens_per_day": _is_less,
    "max_concurrent": _is_less,
    "organisation_multiple": _is_less,
    "verifications": _asks_more,
    "step_up": _demands_more,
}
"""When a new value takes and gives nothing; a field that is not here always permits."""


def differences(
    before: Mapping[str, object] | None, after: Mapping[str, object]
) -> tuple[Difference, ...]:
    """Return what a change changes.

    Args:
        before: The tier's terms, as JSON has them; None for a new tier.
        after: The same after the change.
    """
    found = []
    for name, value in after.items():
        old = None if before is None else before[name]
        if before is not None and old == value:
            continue
        found.append(Difference(name, old, value, _direction(name, before, old, value)))
    return tuple(found)


def _direction(
    name: str, before: Mapping[str, object] | None, old: object, new: object
) -> Direction:
    if name == "description":
        return "neither"
    narrows = RESTRICTS.get(name)
    only_restricts = before is not None and narrows is not None and narrows(old, new)
    return "restricts" if only_restricts else "permits"


def takes_two(found: tuple[Difference, ...], *, is_new: bool) -> bool:
    """Whether a change needs another person's approval."""
    return is_new or any(difference.direction == "permits" for difference in found)


def proposal_refusal(party: Party) -> str | None:
    """Return why a person may not propose; None when they may."""
    if not party.is_active or not any(party.has(duty) for duty in PROPOSE):
        return "this takes an administrator, an operator or an approver"
    return None


def approval_refusal(
    proposer: str, proposed_at: datetime, party: Party, now: datetime
) -> str | None:
    """Return why a person may not approve; None when they may.

    Args:
        proposer: Id of the person who proposed.
        proposed_at: When.
        party: Who wants to approve.
        now: The moment.
    """
    if party.id == proposer:
        return "a change takes two people"
    if now >= proposed_at + LAPSES_AFTER:
        return "the proposal has lapsed"
    if not any(party.has(duty) for duty in APPROVE):
        return "this takes an administrator or an approver"
    if not party.is_active or party.organisation_state != "verified":
        return "it takes somebody active, of a verified organisation"
    return None
