"""Who decides about kept contents: an auditor asks, another agrees, neither the caller. Pure.

To open them, and to destroy them before their time.
"""

from datetime import datetime, timedelta

from gateway.policy.approval import Duty, Party

ASKED_LAPSES_AFTER = timedelta(days=7)
APPROVED_LAPSES_AFTER = timedelta(hours=1)
APPROVE = (Duty.AUDITOR, Duty.APPROVER)


def asking_refusal(party: Party, about: str) -> str | None:
    """Return why a person may not ask about contents of somebody; None when they may."""
    if party.id == about:
        return "nobody decides about their own contents"
    return _refusal(party, (Duty.AUDITOR,))


def approval_refusal(
    asked_by: str, asked_at: datetime, about: str, party: Party, now: datetime
) -> str | None:
    """Return why a person may not agree; None when they may.

    Args:
        asked_by: Id of who asked.
        asked_at: When.
        about: Id of whose contents they are.
        party: Who wants to agree.
        now: The moment.
    """
    if party.id == asked_by:
        return "this takes two people"
    if party.id == about:
        return "nobody decides about their own contents"
    if now >= asked_at + ASKED_LAPSES_AFTER:
        return "the question has lapsed"
    return _refusal(party, APPROVE)


def destruction_refusal(
    asked_by: Party, asked_at: datetime, about: str, party: Party, now: datetime
) -> str | None:
    """Return why contents are not destroyed on a second person's word; None when they are.

    Args:
        asked_by: Who asked, as they are now.
        asked_at: When.
        about: Id of whose contents they are.
        party: Who agrees.
        now: The moment.
    """
    if asking_refusal(asked_by, about) is not None:
        return "who asked may not do so any more; ask again"
    return approval_refusal(asked_by.id, asked_at, about, party, now)


def release_refusal(
    asked_by: str,
    approved_at: datetime | None,
    approved_by: Party | None,
    party: Party,
    now: datetime,
) -> str | None:
    """Return why contents are not handed out to a person; None when they are.

    Args:
        asked_by: Id of who asked.
        approved_at: When somebody agreed.
        approved_by: Who, as they are now.
        party: Who wants to have them.
        now: The moment.
    """
    if party.id != asked_by:
        return "contents are handed out to who has asked"
    if approved_at is None or approved_by is None:
        return "nobody has agreed yet"
    if _refusal(approved_by, APPROVE) is not None:
        return "who agreed may not do so any more; ask again"
    if now >= approved_at + APPROVED_LAPSES_AFTER:
        return "it is over an hour since somebody agreed; ask again"
    return _refusal(party, (Duty.AUDITOR,))


def _refusal(party: Party, duties: tuple[Duty, ...]) -> str | None:
    if not any(party.has(duty) for duty in duties):
        return f"this is for: {', '.join(str(duty) for duty in duties)}"
    if not party.is_active or party.organisation_state != "verified":
        return "it takes somebody active, of a verified organisation"
    return None
