"""Verification over HTTP: organisations, roles, terms, evidence, suspensions, explanations.

Administrators say who may review; what is a person's own to do takes that person's workflow key.
"""

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane import evidence, organisations, people, terms, workflow_grants
from gateway.controlplane.access import (
    Acting,
    Admin,
    Either,
    Limit,
    Now,
    Offset,
    Session,
)
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.etags import IfMatch, check_match, etag
from gateway.controlplane.explanations import explain_person
from gateway.controlplane.routes import ERRORS
from gateway.controlplane.schemas import GrantOut
from gateway.controlplane.verification_schemas import (
    EvidenceAcceptance,
    EvidenceIn,
    EvidenceOut,
    ExplanationOut,
    OrganisationChange,
    OrganisationOut,
    RolesIn,
    RolesOut,
    SuspensionIn,
    TermsAcceptanceOut,
    TermsIn,
    TermsOut,
    UsageReviewIn,
)

router = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS)


@router.get("/organisations", tags=["workflow"])
async def get_organisations(
    session: Session, _: Admin, limit: Limit = 100, offset: Offset = 0
) -> list[OrganisationOut]:
    """List organisations."""
    rows = await organisations.list_organisations(session, limit, offset)
    return [OrganisationOut.model_validate(row) for row in rows]


@router.get("/organisations/{organisation_id}", tags=["workflow"])
async def get_organisation(
    organisation_id: str, session: Session, _: Admin, response: Response
) -> OrganisationOut:
    """Show an organisation; the ETag is for changing what was seen."""
    row = await organisations.get_organisation(session, organisation_id)
    shown = OrganisationOut.model_validate(row)
    response.headers["etag"] = etag(shown)
    return shown


@router.patch("/organisations/{organisation_id}", tags=["workflow"])
async def patch_organisation(
    organisation_id: str,
    change: OrganisationChange,
    session: Session,
    admin: Admin,
    now: Now,
    response: Response,
    if_match: IfMatch = None,
) -> OrganisationOut:
    """Verify or suspend an organisation; a suspended one suspends the grants of its people."""
    seen = await organisations.get_organisation(session, organisation_id, to_change=True)
    check_match(if_match, OrganisationOut.model_validate(seen))
    row = await organisations.change_organisation(
        session, organisation_id, change, actor=admin.actor, now=now
    )
    shown = OrganisationOut.model_validate(row)
    response.headers["etag"] = etag(shown)
    return shown


async def _roles(session: AsyncSession, person_id: str) -> RolesOut:
    party = await organisations.party(session, person_id)
    return RolesOut(
        person_id=person_id, roles=sorted(organisations.role_text(role) for role in party.roles)
    )


@router.get("/people/{person_id}/roles", tags=["workflow"])
async def get_roles(person_id: str, session: Session, _: Admin, response: Response) -> RolesOut:
    """Say what a person is trusted to do; the ETag is for replacing it."""
    shown = await _roles(session, person_id)
    response.headers["etag"] = etag(shown)
    return shown


@router.put("/people/{person_id}/roles", tags=["workflow"])
async def put_roles(
    person_id: str,
    given: RolesIn,
    session: Session,
    admin: Admin,
    now: Now,
    response: Response,
    if_match: IfMatch = None,
) -> RolesOut:
    """Replace what a person is trusted to do; needs If-Match, with the ETag of what was before."""
    await people.get_person(session, person_id, to_change=True)
    check_match(if_match, await _roles(session, person_id), is_required=True)
    roles = await organisations.set_roles(
        session, person_id, given.roles, actor=admin.actor, now=now
    )
    shown = RolesOut(person_id=person_id, roles=roles)
    response.headers["etag"] = etag(shown)
    return shown


@router.get("/terms", tags=["workflow"])
async def get_terms(
    session: Session, _: Either, limit: Limit = 100, offset: Offset = 0
) -> list[TermsOut]:
    """List the versions of the terms of use, the newest first."""
    return [
        TermsOut.model_validate(row)
        for row in (await terms.list_terms(session))[offset : offset + limit]
    ]


@router.post("/terms", tags=["workflow"], status_code=201)
async def post_terms(given: TermsIn, session: Session, admin: Admin, now: Now) -> TermsOut:
    """Publish a version of the terms of use."""
    row = await terms.publish_terms(session, given, actor=admin.actor, now=now)
    return TermsOut.model_validate(row)


@router.post("/terms/{digest}/accept", tags=["workflow"])
async def post_terms_acceptance(
    digest: str, session: Session, member: Acting, now: Now
) -> TermsAcceptanceOut:
    """Accept a version of the terms of use, for the grants that one has."""
    row = await terms.accept_terms(
        session, digest, person_id=member.person_id, actor=member.actor, now=now
    )
    return TermsAcceptanceOut.model_validate(row)


@router.get("/evidence", tags=["workflow"])
async def get_evidence(
    session: Session,
    caller: Either,
    person_id: str | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[EvidenceOut]:
    """List evidence: one's own; of everyone with a role or as an administrator."""
    whose = await organisations.whose_rows(session, caller, person_id)
    rows = await evidence.list_evidence(session, whose, limit, offset)
    return [EvidenceOut.model_validate(row) for row in rows]


@router.post("/evidence", tags=["workflow"], status_code=201)
async def post_evidence(
    given: EvidenceIn, session: Session, member: Acting, now: Now
) -> EvidenceOut:
    """Add evidence about oneself; it counts once an identity reviewer has accepted it."""
    row = await evidence.add_evidence(session, given, member=member, now=now)
    return EvidenceOut.model_validate(row)


@router.post("/evidence/{item_id}/accept", tags=["workflow"])
async def post_evidence_acceptance(
    item_id: str, given: EvidenceAcceptance, session: Session, member: Acting, now: Now
) -> EvidenceOut:
    """Record who asserted evidence and until when."""
    row = await evidence.accept_evidence(session, item_id, given, member=member, now=now)
    return EvidenceOut.model_validate(row)


@router.post("/evidence/{item_id}/retract", tags=["workflow"])
async def post_evidence_retraction(
    item_id: str, session: Session, caller: Either, now: Now
) -> EvidenceOut:
    """Take evidence away; grants that need it are suspended within a second."""
    row = await evidence.retract_evidence(session, item_id, caller=caller, now=now)
    return EvidenceOut.model_validate(row)


@router.post("/grants/{grant_id}/suspend", tags=["workflow"])
async def post_suspension(
    grant_id: str, given: SuspensionIn, session: Session, caller: Either, now: Now
) -> GrantOut:
    """Suspend a grant; its running streams are cut within a second."""
    return GrantOut.model_validate(
        await workflow_grants.suspend_grant(session, grant_id, given.reason, caller=caller, now=now)
    )


@router.post("/grants/{grant_id}/resume", tags=["workflow"])
async def post_resumption(grant_id: str, session: Session, member: Acting, now: Now) -> GrantOut:
    """End a suspension that somebody else has made."""
    return GrantOut.model_validate(
        await workflow_grants.resume_grant(session, grant_id, member=member, now=now)
    )


@router.post("/grants/{grant_id}/usage-reviews", tags=["workflow"])
async def post_usage_review(
    grant_id: str, given: UsageReviewIn, session: Session, member: Acting, now: Now
) -> GrantOut:
    """Record a review of a grant's use; without one in time the grant is suspended."""
    return GrantOut.model_validate(
        await workflow_grants.review_usage(session, grant_id, given, member=member, now=now)
    )


@router.get("/explain", tags=["workflow"])
async def get_explanation(
    person_id: str,
    model: str,
    session: Session,
    caller: Either,
    now: Now,
    key_id: str | None = None,
) -> ExplanationOut:
    """Say what a person who asks for a model gets now, by which rule, from which rows.

    With `key_id`, what they get by that key of theirs.
    """
    await organisations.whose_rows(session, caller, person_id)
    explained = await explain_person(session, person_id, model, now, key_id)
    return ExplanationOut.model_validate(explained)
