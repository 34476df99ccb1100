"""What people and programs are told of: the events, which of them stay on, and when. Pure.

A reminder is due once a threshold; who was away gets the nearest one, not all that were missed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.policy.grants import ALWAYS, NEVER, GrantTerms


class Event(StrEnum):
    """What has happened, or is about to."""

    APPLICATION_SUBMITTED = "application.submitted"
    APPLICATION_TAKEN_UP = "application.taken_up"
    APPLICATION_PASSED = "application.passed"
    APPLICATION_RETURNED = "application.returned"
    APPLICATION_REJECTED = "application.rejected"
    APPLICATION_APPROVED = "application.approved"
    APPLICATION_APPEALED = "application.appealed"
    APPLICATION_GRANTED = "application.granted"
    APPLICATION_WITHDRAWN = "application.withdrawn"
    GRANT_CREATED = "grant.created"
    GRANT_SUSPENDED = "grant.suspended"
    GRANT_RESUMED = "grant.resumed"
    GRANT_REVOKED = "grant.revoked"
    GRANT_FIRST_USED = "grant.first_used"
    GRANT_EXPIRING = "grant.expiring"
    GRANT_EXPIRED = "grant.expired"
    GRANT_LAPSED = "grant.lapsed"
    VERIFICATION_ENDING = "verification.ending"
    USAGE_REVIEW_DUE = "usage_review.due"
    USAGE_REVIEW_OVERDUE = "usage_review.overdue"
    EMERGENCY_ASKED = "emergency.asked"
    EMERGENCY_OPENED = "emergency.opened"
    DOOR_CLOSED = "door.closed"
    KEY_CREATED = "key.created"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    KEY_LEAKED = "key.leaked"
    ADDRESS_TO_CONFIRM = "address.to_confirm"
    ADDRESS_CHANGING = "address.changing"
    INSTITUTION_MAIL = "institution_mail.to_confirm"


SECURITY = frozenset(
    {
        Event.GRANT_SUSPENDED,
        Event.GRANT_REVOKED,
        Event.GRANT_FIRST_USED,
        Event.EMERGENCY_ASKED,
        Event.EMERGENCY_OPENED,
        Event.DOOR_CLOSED,
        Event.KEY_CREATED,
        Event.KEY_ROTATED,
        Event.KEY_REVOKED,
        Event.KEY_LEAKED,
        Event.ADDRESS_TO_CONFIRM,
        Event.ADDRESS_CHANGING,
        Event.INSTITUTION_MAIL,
    }
)
"""What nobody turns off: somebody else may have done it in their name, or must be watched."""
MAIL_ONLY = frozenset({Event.ADDRESS_TO_CONFIRM, Event.ADDRESS_CHANGING, Event.INSTITUTION_MAIL})
"""What concerns nobody but the reader of one address."""

AHEAD_DAYS = (1, 7, 30)
NOT_OLDER = timedelta(days=7)
"""What ended longer ago is no news to anybody."""
LONGEST_WAIT = timedelta(hours=6)
MAX_ATTEMPTS = 12
"""With half a minute first and six hours at most, somewhat more than a day."""


@dataclass(frozen=True)
class Reminder:
    """What is to be told of a grant, once for each `once`."""

    event: Event
    ends_at: datetime
    once: str
    """Says which of a grant's reminders it is."""


def reminders(grant: GrantTerms, now: datetime) -> Iterator[Reminder]:
    """Return what is to be told of a grant now, whether it was told before or not."""
    if grant.revoked_at is not None:
        return
    if grant.expires_at <= now:
        yield from _past(Event.GRANT_EXPIRED, grant.expires_at, now)
        return
    yield from _ahead(Event.GRANT_EXPIRING, grant.not_before, grant.expires_at, now)
    if grant.basis is None:
        return
    verified, due = grant.basis.verified_until, grant.basis.usage_review_due_at
    if verified < grant.expires_at:
        yield from _ahead(Event.VERIFICATION_ENDING, grant.not_before, verified, now)
    if due < grant.expires_at:
        yield from _ahead(Event.USAGE_REVIEW_DUE, grant.not_before, due, now)
        yield from _past(Event.USAGE_REVIEW_OVERDUE, due, now)
    yield from _past(Event.GRANT_LAPSED, grant.basis.ends_at, now)


def _ahead(event: Event, since: datetime, ends_at: datetime, now: datetime) -> Iterator[Reminder]:
    if ends_at in (NEVER, ALWAYS) or ends_at <= now:
        return
    for days in AHEAD_DAYS:
        # Nobody is reminded of the end of what has only just begun.
        if ends_at - now <= timedelta(days=days) < ends_at - since:
            yield Reminder(event, ends_at, f"{event}:{ends_at.isoformat()}:{days}")
            return


def _past(event: Event, ended_at: datetime, now: datetime) -> Iterator[Reminder]:
    if ended_at != NEVER and ended_at <= now < ended_at + NOT_OLDER:
        yield Reminder(event, ended_at, f"{event}:{ended_at.isoformat()}")


def wait_before(
    attempt: int, first: timedelta, chance: float, asked: timedelta | None = None
) -> timedelta | None:
    """Return how long to wait after a failed attempt; None when it was the last.

    Args:
        attempt: Its number, from 1.
        first: After the first one.
        chance: Between 0 and 1, at random, so that what failed together is not tried together.
        asked: For how long the receiver asked to be left alone; it is not believed for longer than
            the longest wait, nor for less than the usual one.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    wait: timedelta = min(first * 2 ** (attempt - 1), LONGEST_WAIT)
    wait *= 0.75 + chance / 2
    return wait if asked is None else max(wait, min(asked, LONGEST_WAIT))
