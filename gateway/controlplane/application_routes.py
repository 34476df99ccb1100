"""Applications over HTTP: every step is a person's own, taken with their workflow key."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane import application_rows, applications, organisations
from gateway.controlplane.access import Acting, Either, Limit, Now, Offset, Session
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.routes import ERRORS
from gateway.controlplane.verification_schemas import (
    AcceptanceIn,
    ApplicationEdit,
    ApplicationIn,
    ApplicationOut,
    JudgementIn,
    StepIn,
)
from gateway.errors import NotFoundError, NotPermittedError
from gateway.identity.principal import Member
from gateway.policy.applications import Action, State

router = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS)

States = Annotated[list[State] | None, Query(description="In which states; each may be named.")]


@router.get("/applications", tags=["workflow"])
async def get_applications(
    session: Session,
    caller: Either,
    now: Now,
    person_id: str | None = None,
    state: States = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[ApplicationOut]:
    """List applications: one's own; of everyone with a role or as an administrator.

    The newest comes first; with `state`, which may be repeated, the one that has been in its state
    for longest. Others' drafts are there with `state=draft` alone.
    """
    whose = await organisations.whose_rows(session, caller, person_id)
    found = await application_rows.list_applications(
        session, whose, limit, offset, states=state or (), reader=caller.person_id, now=now
    )
    return [application_rows.shown(loaded, now) for loaded in found]


@router.get("/applications/{application_id}", tags=["workflow"])
async def get_application(
    application_id: str, session: Session, caller: Either, now: Now
) -> ApplicationOut:
    """Show an application with what was said of it and the grants it led to."""
    loaded = await application_rows.load(session, application_id)
    try:
        await organisations.whose_rows(session, caller, loaded.row.person_id)
    except NotPermittedError as error:
        # Another person's application looks like none.
        raise NotFoundError(f"There is no application '{application_id}'.") from error
    return application_rows.shown(loaded, now)


@router.post("/applications", tags=["workflow"], status_code=201)
async def post_application(
    given: ApplicationIn, session: Session, member: Acting, now: Now
) -> ApplicationOut:
    """Begin an application, as a draft."""
    loaded = await applications.create_application(
        session, given, person_id=member.person_id, actor=member.actor, now=now
    )
    return application_rows.shown(loaded, now)


@router.put("/applications/{application_id}", tags=["workflow"])
async def put_application(
    application_id: str, given: ApplicationEdit, session: Session, member: Acting, now: Now
) -> ApplicationOut:
    """Edit an application; it is a draft again, and reviews of the version before are void."""
    loaded = await applications.edit_application(
        session, application_id, given, member=member, now=now
    )
    return application_rows.shown(loaded, now)


async def _step(
    session: AsyncSession,
    application_id: str,
    action: Action,
    given: StepIn,
    member: Member,
    now: datetime,
) -> ApplicationOut:
    rationale = given.rationale if isinstance(given, JudgementIn) else ""
    loaded = await applications.take_step(
        session, application_id, action, given.digest, rationale, member=member, now=now
    )
    return application_rows.shown(loaded, now)


@router.post("/applications/{application_id}/submit", tags=["workflow"])
async def post_submission(
    application_id: str, given: StepIn, session: Session, member: Acting, now: Now
) -> ApplicationOut:
    """Hand an application in."""
    return await _step(session, application_id, Action.SUBMIT, given, member, now)


@router.post("/applications/{application_id}/withdraw", tags=["workflow"])
async def post_withdrawal(
    application_id: str, given: StepIn, session: Session, member: Acting, now: Now
) -> ApplicationOut:
    """Give an application up."""
    return await _step(session, application_id, Action.WITHDRAW, given, member, now)


@router.post("/applications/{application_id}/appeal", tags=["workflow"])
async def post_appeal(
    application_id: str, given: StepIn, session: Session, member: Acting, now: Now
) -> ApplicationOut:
    """Ask, once, for other reviewers after a rejection."""
    return await _step(session, application_id, Action.APPEAL, given, member, now)


@router.post("/applications/{application_id}/take-up", tags=["workflow"])
async def post_take_up(
    application_id: str, given: StepIn, session: Session, member: Acting, now: Now
) -> ApplicationOut:
    """Begin the identity review."""
    return await _step(session, application_id, Action.TAKE_UP, given, member, now)


@router.post("/applications/{application_id}/judgements", tags=["workflow"])
async def post_judgement(
    application_id: str, given: JudgementIn, session: Session, member: Acting, now: Now
) -> ApplicationOut:
    """Review or approve a version, return it, or reject it; the same word again changes nothing."""
    return await _step(session, application_id, Action(given.decision), given, member, now)


@router.post("/applications/{application_id}/grants", tags=["workflow"])
async def post_acceptance(
    application_id: str, given: AcceptanceIn, session: Session, member: Acting, now: Now
) -> ApplicationOut:
    """Accept the terms of use in force; this makes one grant for each domain, once."""
    loaded = await applications.accept_and_grant(
        session, application_id, given, member=member, now=now
    )
    return application_rows.shown(loaded, now)
