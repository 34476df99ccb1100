"""What an admin route needs: the transaction, who is calling, the gateway's parts."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated

from cryptography.fernet import Fernet
from fastapi import Depends, Query, Request
from fastapi.security import HTTPBearer
from joserfc.jwk import ECKey
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import clock
from gateway.audit.checkpoint import SignerKey
from gateway.controlplane.idempotency import begin
from gateway.controlplane.keyholders import check_address, find_holder
from gateway.controlplane.pace import Pace
from gateway.controlplane.permissions import is_partly_writable
from gateway.controlplane.sessions import find_session, note_seen, proof_of
from gateway.controlplane.steps import Step, admit, only_ends
from gateway.controlplane.throttle import Throttle
from gateway.db import Database
from gateway.errors import InvalidKeyError
from gateway.identity.bearer import bearer_token
from gateway.identity.cookie import SESSION, csrf_token, is_ours
from gateway.identity.issuers import Issuers
from gateway.identity.key_gate import KeyGate
from gateway.identity.members import proven_member
from gateway.identity.peppers import Peppers
from gateway.identity.principal import Administrator, Member
from gateway.identity_errors import ForgedRequestError, InvalidSessionError
from gateway.notices.keys import NoticeKeys
from gateway.policy.approval import Duty
from gateway.settings import Settings
from models.store import CheckpointStore


@dataclass(frozen=True)
class ControlPlane:
    """The parts that admin routes work with."""

    database: Database
    pepper: bytes
    """Of sessions and codes."""
    peppers: Peppers
    """Of keys."""
    cipher: Fernet
    must_attest: bool
    """Whether a new engine must name its side-car."""
    store: CheckpointStore
    signer: SignerKey
    """Of the audit log."""
    issuers: Issuers
    login_cipher: Fernet
    """Of what a browser keeps while it is at a provider."""
    settings: Settings
    idempotency: bytes
    """What idempotency keys and their answers are kept under."""
    gate: KeyGate
    """Lets keys in by address."""
    throttle: Throttle
    """Of leak reports."""
    pace: Pace
    """Of requests to the admin API."""
    notices: NoticeKeys
    visa_key: ECKey
    """Signs visas of grants."""


def control_plane(request: Request) -> ControlPlane:
    """Return the parts, which `create_app` has put into the application's state."""
    parts = request.app.state.control_plane
    assert isinstance(parts, ControlPlane)  # noqa: S101 - a defect, not an input
    return parts


Parts = Annotated[ControlPlane, Depends(control_plane)]


async def open_session(request: Request, parts: Parts) -> AsyncIterator[AsyncSession]:
    """Yield the request's transaction; it is committed before the answer leaves."""
    around = getattr(request.state, "session", None)
    if isinstance(around, AsyncSession):
        yield around  # Of `AdminRoute`, which commits it together with the answer.
        return
    async with parts.database.transaction() as session:
        yield session


Session = Annotated[AsyncSession, Depends(open_session, scope="function")]


# Only for the OpenAPI document, and the button in its page that takes the key.
BEARER = HTTPBearer(auto_error=False, description="A key, or an identity provider's token.")


async def vouch(request: Request, parts: Parts, session: Session) -> Member | None:
    """Return who came with an access token, or else with a session; None when neither did.

    The person is looked up in the database, never in a cache. A request that says who is calling
    in its `Authorization` header has no use for a cookie that came along.
    """
    now, authorization = clock.now(), request.headers.get("authorization")
    token = bearer_token(authorization)
    if token is not None and parts.issuers.by_issuer:
        proof = await parts.issuers.bearer.prove(token, now.timestamp())
        return await proven_member(session, proof)
    if authorization is not None or SESSION not in request.cookies:
        return None
    return await by_session(request, parts, session, request.headers)


async def by_session(
    request: Request, parts: ControlPlane, session: AsyncSession, headers: Mapping[str, str]
) -> Member:
    """Return who came with a session.

    Args:
        request: The request.
        parts: The parts.
        session: The transaction.
        headers: The request's; with the token for changes, where a form has brought that.

    Raises:
        InvalidSessionError: There is none, or it has ended, or whom it began for is somebody else
            by now.
        ForgedRequestError: Another page than ours has made the request.
    """
    check_ours(request, parts, headers)
    now, secret = clock.now(), request.cookies.get(SESSION, "")
    row = await find_session(session, secret, pepper=parts.pepper, settings=parts.settings, now=now)
    if row.issuer not in parts.issuers.by_issuer:
        raise InvalidSessionError
    await note_seen(parts.database, row, now)
    member = await proven_member(session, proof_of(row))
    if member.person_id != row.person_id:
        raise InvalidSessionError
    return replace(member, session_id=row.id)


def check_ours(request: Request, parts: ControlPlane, headers: Mapping[str, str]) -> None:
    """Let a request in whose cookie came along with a page of our own; arguments as above.

    Raises:
        ForgedRequestError: Another page than ours has made the request.
    """
    expected = csrf_token(parts.pepper, request.cookies.get(SESSION, ""))
    if not is_ours(request.method, headers, parts.settings.public_url, expected):
        raise ForgedRequestError


Vouched = Annotated[Member | None, Depends(vouch)]


async def authenticate(
    request: Request,
    parts: Parts,
    session: Session,
    vouched: Vouched,
    _: Annotated[object, Depends(BEARER)],
) -> Administrator | Member:
    """Return who is calling, once the route's row lets them in and write what they send.

    Keys, people and duties are looked up in the database, never in a cache. What ends something is
    not counted: nobody waits to close a door.
    """
    found = vouched or await by_key(request, parts, session)
    route = request.scope["route"]
    path = route.path_format.removeprefix("/admin/v1")
    body = await _body(request) if is_partly_writable(request.method, path) else {}
    step = Step(request.method, path, body)
    if not only_ends(step):
        parts.pace.count(found.actor, request, time.monotonic())
    who = await admit(session, found, step, parts.settings, clock.now())
    request.state.once = await begin(request, parts.database, parts.idempotency, found.actor)
    session.autoflush = True
    if isinstance(found, Member) and Duty.ADMINISTRATOR in who:
        return Administrator(found.key_id, found.person_id, found.assurance, found.rights)
    return found


async def by_key(
    request: Request, parts: ControlPlane, session: AsyncSession
) -> Administrator | Member:
    """Return whose administrator's or workflow key came.

    Raises:
        AuthenticationError: There is none, or it does not count.
        AddressNotAllowedError: It may not be used from there.
    """
    holder = await find_holder(
        session, parts.peppers, request.headers.get("authorization"), clock.now()
    )
    await check_address(parts.database, parts.gate, holder, request.scope)
    return holder.caller


async def _body(request: Request) -> dict[str, object]:
    """Return a body's fields; one that is no object is refused by its schema, later."""
    try:
        body = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):  # The latter of one that is nested too deep.
        return {}
    return body if isinstance(body, dict) else {}


Either = Annotated[Administrator | Member, Depends(authenticate)]


async def as_administrator(caller: Either) -> Administrator:
    """Return the caller as one who administers, as far as the route's row has it."""
    if isinstance(caller, Administrator):
        return caller
    return Administrator(caller.key_id, caller.person_id, caller.assurance, caller.rights)


Admin = Annotated[Administrator, Depends(as_administrator)]


async def as_member(caller: Either, vouched: Vouched) -> Member:
    """Return the person who acts under their own name.

    Raises:
        InvalidKeyError: It is an administrator's key, which is nobody's in particular.
    """
    if isinstance(caller, Member):
        return caller
    if vouched is not None:
        return vouched
    if caller.person_id is None:
        raise InvalidKeyError
    return Member(caller.key_id, caller.person_id, caller.assurance, rights=caller.rights)


Acting = Annotated[Member, Depends(as_member)]


def moment() -> datetime:
    """Return the moment of the request."""
    return datetime.now(UTC)


Now = Annotated[datetime, Depends(moment)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1, description="How many to pass over.")]
