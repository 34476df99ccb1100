"""What an admin route needs: the transaction, the administrator, the gateway's parts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated

from cryptography.fernet import Fernet
from fastapi import Depends, Query, Request
from fastapi.security import HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.checkpoint import SignerKey
from gateway.controlplane.sessions import find_session, proof_of
from gateway.db import Database
from gateway.errors import NotPermittedError, RevokedKeyError
from gateway.identity.api_keys import parse
from gateway.identity.bearer import bearer_token
from gateway.identity.cookie import SESSION, csrf_token, is_ours
from gateway.identity.directory import load_single_key
from gateway.identity.issuers import Issuers
from gateway.identity.members import is_active, is_administrator, proven_member
from gateway.identity.principal import Administrator, Member
from gateway.identity_errors import ForgedRequestError, InvalidSessionError, StepUpRequiredError
from gateway.settings import Settings
from models.store import CheckpointStore


@dataclass(frozen=True)
class ControlPlane:
    """The parts that admin routes work with."""

    database: Database
    pepper: bytes
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


def control_plane(request: Request) -> ControlPlane:
    """Return the parts, which `create_app` has put into the application's state."""
    parts = request.app.state.control_plane
    assert isinstance(parts, ControlPlane)  # noqa: S101 - a defect, not an input
    return parts


Parts = Annotated[ControlPlane, Depends(control_plane)]


async def open_session(parts: Parts) -> AsyncIterator[AsyncSession]:
    """Yield the request's transaction; it is committed before the answer leaves."""
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
    now, authorization = datetime.now(UTC), request.headers.get("authorization")
    token = bearer_token(authorization)
    if token is not None and parts.issuers.by_issuer:
        proof = await parts.issuers.bearer.prove(token, now.timestamp())
        return await proven_member(session, proof)
    secret = request.cookies.get(SESSION)
    if authorization is not None or secret is None:
        return None
    origin = parts.settings.public_url
    if not is_ours(request.method, request.headers, origin, csrf_token(parts.pepper, secret)):
        raise ForgedRequestError
    row = await find_session(session, secret, pepper=parts.pepper, settings=parts.settings, now=now)
    if row.issuer not in parts.issuers.by_issuer:
        raise InvalidSessionError
    return replace(await proven_member(session, proof_of(row)), session_id=row.id)


Vouched = Annotated[Member | None, Depends(vouch)]


async def authenticate(
    request: Request,
    parts: Parts,
    session: Session,
    vouched: Vouched,
    _: Annotated[object, Depends(BEARER)],
) -> Administrator:
    """Return the administrator; the key is looked up in the database, never in a cache."""
    if vouched is not None:
        if not await is_administrator(session, vouched.person_id):
            raise NotPermittedError("This takes an administrator.")
        return Administrator(vouched.key_id, vouched.person_id, vouched.assurance)
    authorization = request.headers.get("authorization")
    directory = await load_single_key(session, parts.pepper, authorization)
    return directory.authenticate_admin(authorization, datetime.now(UTC))


Admin = Annotated[Administrator, Depends(authenticate)]


async def member(
    session: AsyncSession, pepper: bytes, authorization: str | None, now: datetime
) -> Member:
    """Return the person who acts in the workflow.

    Raises:
        AuthenticationError: There is no workflow key, or its owner is suspended.
    """
    directory = await load_single_key(session, pepper, authorization)
    found = directory.authenticate_member(authorization, now)
    if not await is_active(session, found.person_id):
        raise RevokedKeyError
    return found


async def authenticate_member(
    request: Request,
    parts: Parts,
    session: Session,
    vouched: Vouched,
    _: Annotated[object, Depends(BEARER)],
) -> Member:
    """Return the person who acts in the workflow; looked up as administrators are."""
    if vouched is not None:
        return vouched
    authorization = request.headers.get("authorization")
    return await member(session, parts.pepper, authorization, datetime.now(UTC))


Acting = Annotated[Member, Depends(authenticate_member)]


async def authenticate_either(
    request: Request,
    parts: Parts,
    session: Session,
    vouched: Vouched,
    bearer: Annotated[object, Depends(BEARER)],
) -> Administrator | Member:
    """Return an administrator or a person who acts in the workflow."""
    if vouched is not None and not await is_administrator(session, vouched.person_id):
        return vouched
    text = (request.headers.get("authorization") or "").partition(" ")[2].strip()
    parsed = parse(text)
    if parsed is not None and parsed.kind == "workflow":
        return await authenticate_member(request, parts, session, vouched, bearer)
    return await authenticate(request, parts, session, vouched, bearer)


Either = Annotated[Administrator | Member, Depends(authenticate_either)]


async def demand_step_up(caller: Either, parts: Parts) -> None:
    """Let nobody who is logged in pass whose login is too weak or too long ago for the step.

    A key of ours was made after such a login, or by an administrator.

    Raises:
        StepUpRequiredError: It is.
    """
    assurance = caller.assurance
    if assurance is None:
        return
    setting = parts.issuers.by_issuer[assurance.issuer].setting
    wanted = (setting.step_up_acr, setting.step_up_max_age_seconds)
    if not assurance.meets(*wanted, datetime.now(UTC).timestamp()):
        raise StepUpRequiredError(*wanted)


SteppedUp = Depends(demand_step_up)


def moment() -> datetime:
    """Return the moment of the request."""
    return datetime.now(UTC)


Now = Annotated[datetime, Depends(moment)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1, description="How many to pass over.")]
