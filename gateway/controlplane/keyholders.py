"""Who comes to the admin API with a key of ours, and from where.

Keys and people are looked up in the database, never in a cache.
"""

from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, record_event
from gateway.db import Database
from gateway.errors import RevokedKeyError
from gateway.identity.api_keys import parse
from gateway.identity.directory import load_single_key
from gateway.identity.key_gate import KeyGate
from gateway.identity.key_uses import write_use
from gateway.identity.members import is_active
from gateway.identity.peppers import Peppers
from gateway.identity.principal import Administrator, Member
from gateway.identity.proof import TERMINAL
from gateway.identity_errors import AddressNotAllowedError
from gateway.policy.key_terms import KeyTerms


class Holder(NamedTuple):
    """Whose key it is, and how it is narrowed."""

    caller: Administrator | Member
    terms: KeyTerms


async def find_holder(
    session: AsyncSession, peppers: Peppers, authorization: str | None, now: datetime
) -> Holder:
    """Return whose administrator's or workflow key is in an `Authorization` header.

    Raises:
        AuthenticationError: There is none, it does not count, or its owner is suspended.
    """
    parsed = parse((authorization or "").partition(" ")[2].strip())
    directory = await load_single_key(session, peppers, authorization)
    caller: Administrator | Member
    if parsed is not None and parsed.kind == "workflow":
        caller = directory.authenticate_member(authorization, now)
        if not await is_active(session, caller.person_id):
            raise RevokedKeyError
    else:
        caller = directory.authenticate_admin(authorization, now)
    return Holder(caller, directory.keys[caller.key_id].terms)


async def check_address(
    database: Database, gate: KeyGate, holder: Holder, scope: MutableMapping[str, Any]
) -> None:
    """Let a key be used, where it may be used from there.

    A refusal is recorded in a transaction of its own, since the request's is rolled back.

    Raises:
        AddressNotAllowedError: It may not.
    """
    key_id, now = holder.caller.key_id, datetime.now(UTC)
    refusal = gate.refusal(key_id, holder.terms, scope)
    if refusal is None:
        gate.uses.note(key_id, now.timestamp())
        return
    if refusal.is_news:
        await _record(database, holder, refusal.address, now)
    raise AddressNotAllowedError


async def check_terminal(
    session: AsyncSession, database: Database, holder: Holder, now: datetime
) -> None:
    """Let a key be used on the server's terminal, unless it is bound to addresses.

    Args:
        session: The step's transaction.
        database: For a refusal, which is recorded in a transaction of its own.
        holder: Whose key it is.
        now: The moment.

    Raises:
        AddressNotAllowedError: It is.
    """
    if holder.terms.may_come_from(None):
        await write_use(session, holder.caller.key_id, now)
        return
    await _record(database, holder, TERMINAL, now)
    raise AddressNotAllowedError(is_at_terminal=True)


async def _record(database: Database, holder: Holder, address: str, now: datetime) -> None:
    async with database.transaction() as session:
        await record_event(
            session,
            Tag.KEY_REFUSED,
            holder.caller.key_id,
            actor=holder.caller.actor,
            now=now,
            address=address,
        )
