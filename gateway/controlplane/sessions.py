"""Sessions of people who are logged in: begun by a login, listed, ended; kept in the database.

A session that is not used for a while has ended, one that is old too. A further login, also one
for a step that takes a stronger proof, begins a new session and ends the one before.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_event
from gateway.db import Database
from gateway.errors import NotFoundError
from gateway.identity.cookie import SECRET_LENGTH, new_secret, secret_hmac
from gateway.identity.login import LoggedIn
from gateway.identity.logout_token import LoggedOut
from gateway.identity.proof import CLOCK_SECONDS, Assurance, Proof
from gateway.identity_errors import InvalidSessionError
from gateway.settings import Settings
from gateway.tables import Identity, LoginSession

SEEN_EVERY = timedelta(minutes=1)
KEPT = timedelta(days=1)
"""For how long an old session's row stays."""


class NewSession(NamedTuple):
    """A session's row, and its secret, which only the browser keeps."""

    row: LoginSession
    secret: str


async def begin_session(
    session: AsyncSession,
    logged_in: LoggedIn,
    person_id: str,
    *,
    pepper: bytes,
    settings: Settings,
    now: datetime,
) -> NewSession:
    """Begin a session for somebody who has just logged in."""
    proof, secret = logged_in.proof, new_secret()
    # The log keeps what happened; a person's rows stay as many as their logins of a day.
    await session.execute(
        delete(LoginSession).where(
            LoginSession.person_id == person_id, LoginSession.expires_at < now - KEPT
        )
    )
    at = proof.assurance.authenticated_at
    row = LoginSession(
        id=str(uuid.uuid4()),
        secret_hmac=secret_hmac(pepper, secret),
        person_id=person_id,
        issuer=proof.issuer,
        subject=proof.subject,
        provider_session=logged_in.provider_session,
        acr=proof.assurance.acr,
        authenticated_at=None if at is None else datetime.fromtimestamp(at, UTC),
        created_at=now,
        seen_at=now,
        expires_at=now + timedelta(seconds=settings.session_seconds),
    )
    session.add(row)
    await record_event(
        session, Tag.SESSION_BEGUN, row.id, actor=f"person:{person_id}", now=now, acr=row.acr
    )
    return NewSession(row, secret)


async def find_session(
    session: AsyncSession, secret: str, *, pepper: bytes, settings: Settings, now: datetime
) -> LoginSession:
    """Return the live session of a cookie.

    Raises:
        InvalidSessionError: There is none, or it has ended.
    """
    found = None
    if len(secret) == SECRET_LENGTH and secret.isascii():
        digest = secret_hmac(pepper, secret)
        query = select(LoginSession).where(LoginSession.secret_hmac == digest)
        found = await session.scalar(query)
    if found is None or not is_live(found, settings, now):
        raise InvalidSessionError
    return found


async def note_seen(database: Database, row: LoginSession, now: datetime) -> None:
    """Have a session count as used now, in a transaction of its own.

    The request's own may go on for long beside others, as an import's does, and SQLite has but one
    writer at a time.

    Raises:
        NotReadyError: The database is down.
    """
    if now - row.seen_at < SEEN_EVERY:
        return
    older = (LoginSession.id == row.id) & (LoginSession.seen_at < now)
    async with database.transaction() as session:
        await session.execute(update(LoginSession).where(older).values(seen_at=now))


def is_live(row: LoginSession, settings: Settings, now: datetime) -> bool:
    """Whether a session counts at a moment."""
    idle_until = row.seen_at + timedelta(seconds=settings.session_idle_seconds)
    return row.ended_at is None and now < min(row.expires_at, idle_until)


def proof_of(row: LoginSession) -> Proof:
    """Return what the provider vouched for when the session began."""
    at = None if row.authenticated_at is None else row.authenticated_at.timestamp()
    assurance = Assurance(row.issuer, row.acr, at)
    return Proof(row.issuer, row.subject, row.expires_at.timestamp(), assurance)


async def list_sessions(
    session: AsyncSession, person_id: str | None, settings: Settings, now: datetime
) -> list[LoginSession]:
    """Return live sessions, of one person or of all, the newest first; a thousand at most."""
    # As `is_live` has it; those that only look so must take nobody's place among the thousand.
    idle_since = now - timedelta(seconds=settings.session_idle_seconds)
    query = select(LoginSession).where(
        LoginSession.ended_at.is_(None),
        LoginSession.expires_at > now,
        LoginSession.seen_at > idle_since,
    )
    if person_id is not None:
        query = query.where(LoginSession.person_id == person_id)
    newest = query.order_by(LoginSession.created_at.desc()).limit(1000)
    return list(await session.scalars(newest))


async def end_session(
    session: AsyncSession, session_id: str, whose: str | None, *, actor: str, now: datetime
) -> None:
    """End a session, of one person or of anybody.

    Raises:
        NotFoundError: They have none of that id.
    """
    row = await session.get(LoginSession, session_id)
    is_theirs = row is not None and whose in (None, row.person_id)
    if not is_theirs or not await _end(session, [session_id], actor, now):
        raise NotFoundError(f"There is no session '{session_id[:40]}'.")


async def end_sessions(session: AsyncSession, person_id: str, *, actor: str, now: datetime) -> None:
    """End every session of a person."""
    query = select(LoginSession.id).where(
        LoginSession.person_id == person_id, LoginSession.ended_at.is_(None)
    )
    await _end(session, await session.scalars(query), actor, now)


async def end_identitys_sessions(
    session: AsyncSession, identity: Identity, *, actor: str, now: datetime
) -> None:
    """End every session that a provider's subject has begun."""
    query = select(LoginSession.id).where(
        LoginSession.issuer == identity.issuer,
        LoginSession.subject == identity.subject,
        LoginSession.ended_at.is_(None),
    )
    await _end(session, await session.scalars(query), actor, now)


async def end_logged_out(session: AsyncSession, said: LoggedOut, now: datetime) -> None:
    """End the sessions that a provider says are over."""
    # By the provider's clock, which may be as far behind ours; a login since then is made again.
    until = datetime.fromtimestamp(said.at + CLOCK_SECONDS, UTC)
    query = select(LoginSession.id).where(
        LoginSession.issuer == said.issuer,
        LoginSession.ended_at.is_(None),
        LoginSession.created_at <= until,
    )
    if said.subject is not None:
        query = query.where(LoginSession.subject == said.subject)
    if said.provider_session is not None:
        query = query.where(LoginSession.provider_session == said.provider_session)
    await _end(session, await session.scalars(query), f"issuer:{said.issuer}"[:200], now)


async def _end(session: AsyncSession, ids: Iterable[str], actor: str, now: datetime) -> int:
    """End sessions that nobody has ended meanwhile; return how many those are."""
    # Every row before the first entry, since who holds the log's head waits for nobody.
    held = [await locked(session, LoginSession, session_id) for session_id in sorted(ids)]
    live = [row for row in held if row is not None and row.ended_at is None]
    for row in live:
        row.ended_at = now
        await record_event(
            session, Tag.SESSION_ENDED, row.id, actor=actor, now=now, person=row.person_id
        )
    return len(live)
