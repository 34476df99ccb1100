"""What people see and do about themselves: who they are here, their sessions, their own keys."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Cookie, Response

from gateway.controlplane import bootstrap, keys, sessions
from gateway.controlplane.access import Acting, Now, Parts, Session
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.etags import IfMatch, check_match, etag
from gateway.controlplane.identity_schemas import (
    FirstAdministratorIn,
    MeOut,
    SessionOut,
)
from gateway.controlplane.key_schemas import (
    KeyIn,
    KeyNarrowing,
    KeyOut,
    KeyRotation,
    NewKeyOut,
    OwnKeyIn,
)
from gateway.controlplane.organisations import role_text, roles_of
from gateway.controlplane.people import get_person
from gateway.controlplane.routes import ERRORS
from gateway.errors import NotPermittedError
from gateway.identity.cookie import SESSION, csrf_token
from gateway.identity.principal import Member, maker_of

OWN = timedelta(days=90)
"""How long a key of one's own lasts, unless it is said."""
router = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS, tags=["identity"])
SessionCookie = Annotated[str | None, Cookie(alias=SESSION, include_in_schema=False)]


@router.get("/me")
async def get_me(
    session: Session, member: Acting, parts: Parts, cookie: SessionCookie = None
) -> MeOut:
    """Say who is calling, and by session: the token that changes must carry."""
    person = await get_person(session, member.person_id)
    by: Literal["key", "token", "session"] = "key"
    if member.assurance is not None:
        by = "token" if member.session_id is None else "session"
    return MeOut(
        person_id=person.id,
        name=person.name,
        organisation=person.organisation,
        tier=person.tier,
        roles=sorted(role_text(role) for role in await roles_of(session, person.id)),
        by=by,
        acr=member.assurance.acr if member.assurance else None,
        authenticated_at=member.assurance.authenticated_at if member.assurance else None,
        csrf_token=csrf_token(parts.pepper, cookie) if cookie and by == "session" else None,
    )


@router.get("/me/sessions")
async def get_own_sessions(
    session: Session, member: Acting, parts: Parts, now: Now
) -> list[SessionOut]:
    """List one's own live sessions, the newest first."""
    rows = await sessions.list_sessions(session, member.person_id, parts.settings, now)
    return [SessionOut.model_validate(row) for row in rows]


@router.delete("/me/sessions/{session_id}", status_code=204)
async def delete_own_session(session_id: str, session: Session, member: Acting, now: Now) -> None:
    """End a session of one's own, at once."""
    await sessions.end_session(session, session_id, member.person_id, actor=member.actor, now=now)


@router.get("/me/keys")
async def get_own_keys(session: Session, member: Acting) -> list[KeyOut]:
    """List one's own keys, without their secrets."""
    rows = await keys.list_keys(session, member.person_id, 1000, 0)
    return [KeyOut.model_validate(row) for row in rows]


@router.post("/me/keys", status_code=201)
async def post_own_key(
    given: OwnKeyIn, session: Session, member: Acting, parts: Parts, now: Now
) -> NewKeyOut:
    """Make a key of one's own; it takes a fresh, strong login, and never another key."""
    _check_logged_in(member)
    wanted = KeyIn(person_id=member.person_id, **given.model_dump())
    new = await keys.create_key(
        session, wanted, peppers=parts.peppers, maker=maker_of(member), now=now, usual=OWN
    )
    return NewKeyOut(**KeyOut.model_validate(new.row).model_dump(), key=new.text)


@router.get("/me/keys/{key_id}")
async def get_own_key(key_id: str, session: Session, member: Acting, response: Response) -> KeyOut:
    """Show a key of one's own, without its secret."""
    key = KeyOut.model_validate(await keys.own_key(session, key_id, member.person_id))
    response.headers["etag"] = etag(key.lasting())
    return key


@router.patch("/me/keys/{key_id}")
async def patch_own_key(
    key_id: str,
    given: KeyNarrowing,
    session: Session,
    member: Acting,
    now: Now,
    response: Response,
    if_match: IfMatch = None,
) -> KeyOut:
    """Narrow a key of one's own: it ends sooner, or may do less; never the other way."""
    seen = await keys.own_key(session, key_id, member.person_id, to_change=True)
    check_match(if_match, KeyOut.model_validate(seen).lasting())
    row = await keys.narrow_key(session, seen, given, actor=member.actor, now=now)
    key = KeyOut.model_validate(row)
    response.headers["etag"] = etag(key.lasting())
    return key


@router.post("/me/keys/{key_id}/rotate", status_code=201)
async def post_own_key_rotation(
    key_id: str, given: KeyRotation, session: Session, member: Acting, parts: Parts, now: Now
) -> NewKeyOut:
    """Make a successor of a key of one's own; the old one ends after the overlap."""
    _check_logged_in(member)
    await keys.own_key(session, key_id, member.person_id)
    new = await keys.rotate_key(
        session,
        key_id,
        timedelta(hours=given.overlap_hours),
        peppers=parts.peppers,
        maker=maker_of(member),
        now=now,
    )
    return NewKeyOut(**KeyOut.model_validate(new.row).model_dump(), key=new.text)


@router.post("/me/keys/{key_id}/revoke")
async def post_own_key_revocation(
    key_id: str, session: Session, member: Acting, now: Now
) -> KeyOut:
    """End a key of one's own; its running streams are cut within a second."""
    await keys.own_key(session, key_id, member.person_id)
    row = await keys.revoke_key(session, key_id, actor=member.actor, now=now)
    return KeyOut.model_validate(row)


@router.post("/me/first-administrator", status_code=204)
async def post_first_administrator(
    given: FirstAdministratorIn, session: Session, member: Acting, parts: Parts, now: Now
) -> None:
    """Become the first administrator, by the code that `airlock bootstrap` has printed."""
    _check_logged_in(member)
    await bootstrap.make_first_administrator(
        session, given.code, member, pepper=parts.pepper, now=now
    )


def _check_logged_in(member: Member) -> None:
    if member.assurance is None:
        raise NotPermittedError("This takes a login, not a key.")
