"""The admin API, `/admin/v1`: people, keys, grants, aliases, engines."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Depends, Response

from gateway.controlplane import engines, grants, keys, people, person_changes, serving
from gateway.controlplane.access import (
    Admin,
    Limit,
    Now,
    Offset,
    Parts,
    Session,
    authenticate,
)
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.etags import IfMatch, check_match, etag
from gateway.controlplane.key_schemas import KeyIn, KeyNarrowing, KeyOut, KeyRotation, NewKeyOut
from gateway.controlplane.schemas import (
    EngineIn,
    EngineOut,
    ErrorOut,
    GrantIn,
    GrantOut,
    PersonChange,
    PersonIn,
    PersonOut,
    PromotionOut,
    RevocationIn,
    RevocationOut,
)
from gateway.identity.principal import maker_of

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorOut, "description": "A field is unknown, missing or wrong."},
    401: {"model": ErrorOut, "description": "No admin key, or not a live one."},
    403: {"model": ErrorOut, "description": "Another person's step, or a role that is missing."},
    404: {"model": ErrorOut, "description": "Nothing of that name."},
    409: {"model": ErrorOut, "description": "It exists already, or is being done."},
    412: {"model": ErrorOut, "description": "If-Match names another version."},
    422: {"model": ErrorOut, "description": "The idempotency key came with another request."},
    428: {"model": ErrorOut, "description": "This change needs If-Match."},
    429: {"model": ErrorOut, "description": "Too many requests in this minute."},
    503: {"model": ErrorOut, "description": "The database is down."},
}
router = APIRouter(
    route_class=AdminRoute,
    prefix="/admin/v1",
    responses=ERRORS,
    dependencies=[Depends(authenticate)],
)


@router.get("/people", tags=["people"])
async def get_people(session: Session, limit: Limit = 100, offset: Offset = 0) -> list[PersonOut]:
    """List people."""
    return [PersonOut.model_validate(p) for p in await people.list_people(session, limit, offset)]


@router.post("/people", tags=["people"], status_code=201)
async def post_person(given: PersonIn, session: Session, admin: Admin, now: Now) -> PersonOut:
    """Add a person."""
    person = await people.add_person(session, given, actor=admin.actor, now=now)
    return PersonOut.model_validate(person)


@router.get("/people/{person_id}", tags=["people"])
async def get_person(person_id: str, session: Session, response: Response) -> PersonOut:
    """Show a person; the ETag is for changing what was seen."""
    person = PersonOut.model_validate(await people.get_person(session, person_id))
    response.headers["etag"] = etag(person)
    return person


@router.patch("/people/{person_id}", tags=["people"])
async def patch_person(
    person_id: str,
    change: PersonChange,
    session: Session,
    admin: Admin,
    now: Now,
    response: Response,
    if_match: IfMatch = None,
) -> PersonOut:
    """Move a person to another tier or organisation, rename, suspend or reinstate them."""
    seen = await people.get_person(session, person_id, to_change=True)
    check_match(if_match, PersonOut.model_validate(seen))
    row = await person_changes.change_person(session, person_id, change, actor=admin.actor, now=now)
    person = PersonOut.model_validate(row)
    response.headers["etag"] = etag(person)
    return person


@router.get("/keys", tags=["keys"])
async def get_keys(
    session: Session, person_id: str | None = None, limit: Limit = 100, offset: Offset = 0
) -> list[KeyOut]:
    """List keys, without their secrets."""
    rows = await keys.list_keys(session, person_id, limit, offset)
    return [KeyOut.model_validate(row) for row in rows]


@router.post("/keys", tags=["keys"], status_code=201)
async def post_key(
    given: KeyIn, session: Session, admin: Admin, parts: Parts, now: Now
) -> NewKeyOut:
    """Make a key; its text is in this answer and nowhere else."""
    maker = maker_of(admin)
    new = await keys.create_key(session, given, peppers=parts.peppers, maker=maker, now=now)
    return NewKeyOut(**KeyOut.model_validate(new.row).model_dump(), key=new.text)


@router.get("/keys/{key_id}", tags=["keys"])
async def get_key(key_id: str, session: Session, response: Response) -> KeyOut:
    """Show a key, without its secret; the ETag is for changing what was seen."""
    key = KeyOut.model_validate(await keys.get_key(session, key_id))
    response.headers["etag"] = etag(key.lasting())
    return key


@router.patch("/keys/{key_id}", tags=["keys"])
async def patch_key(
    key_id: str,
    given: KeyNarrowing,
    session: Session,
    admin: Admin,
    now: Now,
    response: Response,
    if_match: IfMatch = None,
) -> KeyOut:
    """Narrow anybody's key: it ends sooner, or may do less; never the other way."""
    seen = await keys.key_to_change(session, key_id)
    check_match(if_match, KeyOut.model_validate(seen).lasting())
    row = await keys.narrow_key(session, seen, given, actor=admin.actor, now=now)
    key = KeyOut.model_validate(row)
    response.headers["etag"] = etag(key.lasting())
    return key


@router.post("/keys/{key_id}/rotate", tags=["keys"], status_code=201)
async def post_key_rotation(
    key_id: str, given: KeyRotation, session: Session, admin: Admin, parts: Parts, now: Now
) -> NewKeyOut:
    """Make a successor of a key; the old one ends after the overlap."""
    new = await keys.rotate_key(
        session,
        key_id,
        timedelta(hours=given.overlap_hours),
        peppers=parts.peppers,
        maker=maker_of(admin),
        now=now,
    )
    return NewKeyOut(**KeyOut.model_validate(new.row).model_dump(), key=new.text)


@router.post("/keys/{key_id}/revoke", tags=["keys"])
async def post_key_revocation(key_id: str, session: Session, admin: Admin, now: Now) -> KeyOut:
    """End a key; its running streams are cut within a second."""
    return KeyOut.model_validate(await keys.revoke_key(session, key_id, actor=admin.actor, now=now))


@router.get("/grants", tags=["grants"])
async def get_grants(
    session: Session, person_id: str | None = None, limit: Limit = 100, offset: Offset = 0
) -> list[GrantOut]:
    """List grants."""
    rows = await grants.list_grants(session, person_id, limit, offset)
    return [GrantOut.model_validate(row) for row in rows]


@router.post("/grants", tags=["grants"], status_code=201)
async def post_grant(
    given: GrantIn, session: Session, admin: Admin, now: Now, parts: Parts
) -> GrantOut:
    """Grant one hazard domain to one person for a time, where grants may be direct."""
    grants.check_direct(parts.settings)
    return GrantOut.model_validate(
        await grants.create_grant(session, given, actor=admin.actor, now=now)
    )


@router.post("/grants/{grant_id}/revoke", tags=["grants"])
async def post_grant_revocation(
    grant_id: str, session: Session, admin: Admin, now: Now
) -> GrantOut:
    """End a grant for ever; its running streams are cut within a second."""
    return GrantOut.model_validate(
        await grants.revoke_grant(session, grant_id, actor=admin.actor, now=now)
    )


@router.get("/aliases", tags=["serving"])
async def get_aliases(
    session: Session, limit: Limit = 100, offset: Offset = 0
) -> list[PromotionOut]:
    """List what every alias points to now, and whether its release counts."""
    return [
        PromotionOut.model_validate(row)
        for row in (await serving.current_promotions(session))[offset : offset + limit]
    ]


@router.get("/promotions", tags=["serving"])
async def get_promotions(
    session: Session, limit: Limit = 100, offset: Offset = 0
) -> list[PromotionOut]:
    """List promotions, the newest first."""
    rows = await serving.list_promotions(session, limit, offset)
    return [PromotionOut.model_validate(row) for row in rows]


@router.get("/revocations", tags=["serving"])
async def get_revocations(
    session: Session, limit: Limit = 100, offset: Offset = 0
) -> list[RevocationOut]:
    """List revoked checkpoints, the newest first."""
    rows = await serving.list_revocations(session, limit, offset)
    return [RevocationOut.model_validate(row) for row in rows]


@router.post("/revocations", tags=["serving"], status_code=201)
async def post_revocation(
    given: RevocationIn, session: Session, admin: Admin, now: Now
) -> RevocationOut:
    """End a checkpoint for ever; whatever points to it is closed within a second."""
    row = await serving.revoke_checkpoint(
        session, given.checkpoint, given.reason, actor=admin.actor, now=now
    )
    return RevocationOut.model_validate(row)


@router.get("/engines", tags=["serving"])
async def get_engines(session: Session, limit: Limit = 100, offset: Offset = 0) -> list[EngineOut]:
    """List the engines that were added here; those of the settings are not among them."""
    rows = await engines.list_engines(session, limit, offset)
    return [EngineOut.model_validate(row) for row in rows]


@router.post("/engines", tags=["serving"], status_code=201)
async def post_engine(
    given: EngineIn, session: Session, admin: Admin, parts: Parts, now: Now
) -> EngineOut:
    """Add an engine; it serves nobody before its digest and attestation have been checked."""
    engine = await engines.add_engine(
        session,
        given,
        cipher=parts.cipher,
        must_attest=parts.must_attest,
        actor=admin.actor,
        now=now,
    )
    return EngineOut.model_validate(engine)


@router.delete("/engines/{engine_id}", tags=["serving"], status_code=204)
async def delete_engine(engine_id: str, session: Session, admin: Admin, now: Now) -> None:
    """Take an engine out."""
    await engines.remove_engine(session, engine_id, actor=admin.actor, now=now)
