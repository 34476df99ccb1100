"""The admin API, `/admin/v1`: tiers, people, keys, grants, aliases, engines, audit events."""

from datetime import timedelta
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Depends
from sqlalchemy import select

from gateway.controlplane import grants, keys, people, serving, tiers
from gateway.controlplane.access import Admin, Limit, Now, Offset, Parts, Session, authenticate
from gateway.controlplane.schemas import (
    AuditEventOut,
    EngineIn,
    EngineOut,
    ErrorOut,
    ExaminationOut,
    GrantIn,
    GrantOut,
    KeyIn,
    KeyOut,
    KeyRotation,
    NewKeyOut,
    PersonChange,
    PersonIn,
    PersonOut,
    PromotionIn,
    PromotionOut,
    RollbackIn,
    TierChange,
    TierIn,
    TierOut,
)
from gateway.errors import NotFoundError, PromotionForbiddenError
from gateway.tables import AuditEvent, Promotion
from models.errors import CheckpointNotFoundError, RegistryError
from models.release import Release, examine, promote, rollback, rollback_target

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorOut, "description": "A field is unknown, missing or wrong."},
    401: {"model": ErrorOut, "description": "No admin key, or not a live one."},
    404: {"model": ErrorOut, "description": "Nothing of that name."},
    409: {"model": ErrorOut, "description": "It exists already, or the registry refuses."},
    503: {"model": ErrorOut, "description": "The database is down."},
}
router = APIRouter(prefix="/admin/v1", responses=ERRORS, dependencies=[Depends(authenticate)])


@router.get("/tiers", tags=["tiers"])
async def get_tiers(session: Session) -> list[TierOut]:
    """List the access tiers."""
    return [TierOut.model_validate(tier) for tier in await tiers.list_tiers(session)]


@router.post("/tiers", tags=["tiers"], status_code=201)
async def post_tier(given: TierIn, session: Session, admin: Admin, now: Now) -> TierOut:
    """Create an access tier."""
    tier = await tiers.create_tier(session, given, actor=admin.actor, now=now)
    return TierOut.model_validate(tier)


@router.patch("/tiers/{name}", tags=["tiers"])
async def patch_tier(
    name: str, change: TierChange, session: Session, admin: Admin, now: Now
) -> TierOut:
    """Change an access tier; it takes effect within a second."""
    tier = await tiers.change_tier(session, name, change, actor=admin.actor, now=now)
    return TierOut.model_validate(tier)


@router.get("/people", tags=["people"])
async def get_people(session: Session, limit: Limit = 100, offset: Offset = 0) -> list[PersonOut]:
    """List people."""
    return [PersonOut.model_validate(p) for p in await people.list_people(session, limit, offset)]


@router.post("/people", tags=["people"], status_code=201)
async def post_person(given: PersonIn, session: Session, admin: Admin, now: Now) -> PersonOut:
    """Add a person."""
    person = await people.add_person(session, given, actor=admin.actor, now=now)
    return PersonOut.model_validate(person)


@router.patch("/people/{person_id}", tags=["people"])
async def patch_person(
    person_id: str, change: PersonChange, session: Session, admin: Admin, now: Now
) -> PersonOut:
    """Move a person to another tier, suspend or reinstate them."""
    person = await people.change_person(session, person_id, change, actor=admin.actor, now=now)
    return PersonOut.model_validate(person)


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
    new = await keys.create_key(session, given, pepper=parts.pepper, actor=admin.actor, now=now)
    return NewKeyOut(**KeyOut.model_validate(new.row).model_dump(), key=new.text)


@router.post("/keys/{key_id}/rotate", tags=["keys"], status_code=201)
async def post_key_rotation(
    key_id: str, given: KeyRotation, session: Session, admin: Admin, parts: Parts, now: Now
) -> NewKeyOut:
    """Make a successor of a key; the old one ends after the overlap."""
    new = await keys.rotate_key(
        session,
        key_id,
        timedelta(hours=given.overlap_hours),
        pepper=parts.pepper,
        actor=admin.actor,
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
async def post_grant(given: GrantIn, session: Session, admin: Admin, now: Now) -> GrantOut:
    """Grant one hazard domain to one person for a time."""
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
async def get_aliases(session: Session) -> list[PromotionOut]:
    """List what every alias points to now."""
    return [PromotionOut.model_validate(p) for p in await serving.current_promotions(session)]


@router.get("/promotions", tags=["serving"])
async def get_promotions(
    session: Session, limit: Limit = 100, offset: Offset = 0
) -> list[PromotionOut]:
    """List promotions, the newest first."""
    rows = await serving.list_promotions(session, limit, offset)
    return [PromotionOut.model_validate(row) for row in rows]


@router.post("/promotions", tags=["serving"], status_code=201)
async def post_promotion(
    given: PromotionIn, session: Session, admin: Admin, parts: Parts, now: Now
) -> PromotionOut | ExaminationOut:
    """Point an alias to a checkpoint; the bytes are hashed and the gate decides."""

    def work() -> Release | None:
        if parts.store.get(given.checkpoint).family != given.family:
            raise NotFoundError(f"{given.checkpoint} is not of the family '{given.family}'.")
        if given.dry_run:
            examine(parts.store, given.checkpoint, given.label, parts.policy, now)
            return None
        return promote(
            parts.store, given.checkpoint, given.label, parts.policy, reason=given.reason, now=now
        )

    try:
        release = await anyio.to_thread.run_sync(work)
    except CheckpointNotFoundError as error:
        raise NotFoundError(str(error)) from error
    except RegistryError as error:
        raise PromotionForbiddenError(str(error)) from error
    if release is None:
        return ExaminationOut(alias=f"{given.family}:{given.label}", checkpoint=given.checkpoint)
    return await _taken_over(session, release, admin, now)


@router.post("/rollbacks", tags=["serving"], status_code=201)
async def post_rollback(
    given: RollbackIn, session: Session, admin: Admin, parts: Parts, now: Now
) -> PromotionOut | ExaminationOut:
    """Point an alias to an earlier checkpoint, if it still passes the gate."""
    family, label = given.family, given.label

    def work() -> Release:
        if given.dry_run:
            target = rollback_target(parts.store, family, label, given.to_version)
            examine(parts.store, target.checkpoint, label, parts.policy, now)
            return target
        return rollback(
            parts.store,
            family,
            label,
            parts.policy,
            to_version=given.to_version,
            reason=given.reason,
            now=now,
        )

    try:
        release = await anyio.to_thread.run_sync(work)
    except RegistryError as error:
        raise PromotionForbiddenError(str(error)) from error
    if given.dry_run:
        return ExaminationOut(alias=f"{family}:{label}", checkpoint=release.checkpoint)
    return await _taken_over(session, release, admin, now)


async def _taken_over(session: Session, release: Release, admin: Admin, now: Now) -> PromotionOut:
    """Record a new release, unless the gateway's own look at the files came first."""
    await serving.take_over(session, [release], actor=admin.actor, now=now)
    row = await session.scalar(
        select(Promotion).where(
            Promotion.family == release.family,
            Promotion.label == release.label,
            Promotion.version == release.version,
        )
    )
    return PromotionOut.model_validate(row)


@router.get("/engines", tags=["serving"])
async def get_engines(session: Session) -> list[EngineOut]:
    """List the engines that were added here; those of the settings are not among them."""
    return [EngineOut.model_validate(engine) for engine in await serving.list_engines(session)]


@router.post("/engines", tags=["serving"], status_code=201)
async def post_engine(
    given: EngineIn, session: Session, admin: Admin, parts: Parts, now: Now
) -> EngineOut:
    """Add an engine; it serves nobody before its digest has been checked."""
    engine = await serving.add_engine(
        session, given, cipher=parts.cipher, actor=admin.actor, now=now
    )
    return EngineOut.model_validate(engine)


@router.delete("/engines/{engine_id}", tags=["serving"], status_code=204)
async def delete_engine(engine_id: str, session: Session, admin: Admin, now: Now) -> None:
    """Take an engine out."""
    await serving.remove_engine(session, engine_id, actor=admin.actor, now=now)


@router.get("/audit-events", tags=["audit"])
async def get_audit_events(
    session: Session, limit: Limit = 100, offset: Offset = 0
) -> list[AuditEventOut]:
    """List changes of access, the newest first."""
    query = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit).offset(offset)
    return [AuditEventOut.model_validate(event) for event in await session.scalars(query)]
