"""What is good once, or for a while: ended, all of it, when a database came back from before.

A code that was shown, a link that was opened, contents that were handed out: none of it has been,
in an earlier database; a session that somebody ended goes on there. Whoever had it in good faith
logs in, asks, or agrees again. Keys and grants are not of these: they have an end that is known.
"""

from datetime import datetime
from typing import cast

from sqlalchemy import Update, delete, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.tables import (
    Address,
    ContentOpening,
    FirstAdministratorCode,
    InstitutionMail,
    LoginSession,
)


async def end_what_passes(session: AsyncSession, now: datetime) -> dict[str, int]:
    """End sessions, codes, links, and the word that contents may be handed out.

    Args:
        session: The transaction.
        now: The moment.

    Returns:
        How many of each there were, for the log.
    """
    changes: dict[str, Update] = {
        "sessions": update(LoginSession)
        .where(LoginSession.ended_at.is_(None), LoginSession.expires_at > now)
        .values(ended_at=now),
        "links": update(Address)
        .where(Address.nonce.is_not(None))
        .values(pending_email=None, nonce=None, pending_until=None),
        "codes": update(InstitutionMail)
        .where(InstitutionMail.ended_at.is_(None))
        .values(ended_at=now, email=None, nonce=None),
        # It waits for a second person's word anew: they may be in somebody's hands already.
        "openings": update(ContentOpening)
        .where(ContentOpening.approved_at.is_not(None), ContentOpening.released_at.is_(None))
        .values(approved_by=None, approved_at=None),
    }
    await session.execute(delete(FirstAdministratorCode))
    return {name: await _count(session, change) for name, change in changes.items()}


async def _count(session: AsyncSession, change: Update) -> int:
    done = await session.execute(change.execution_options(synchronize_session=False))
    return cast("CursorResult[object]", done).rowcount
