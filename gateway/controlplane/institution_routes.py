"""The institution mail loop over HTTP: asking, showing the code, and the mailed link's page."""

from html import escape
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from gateway.controlplane import institution_mail
from gateway.controlplane.access import (
    Acting,
    ControlPlane,
    Now,
    Parts,
    Session,
    by_session,
)
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.contact_schemas import (
    InstitutionCodeIn,
    InstitutionMailIn,
    InstitutionMailOut,
)
from gateway.controlplane.faults import render
from gateway.controlplane.institution_mail import NOT_GOOD
from gateway.controlplane.pages import page, read_form
from gateway.controlplane.routes import ERRORS
from gateway.controlplane.schemas import ErrorOut
from gateway.controlplane.steps import Step, admit
from gateway.controlplane.verification_schemas import EvidenceOut
from gateway.errors import ConflictError, InvalidRequestError, NotFoundError
from gateway.identity.cookie import SESSION, csrf_token
from gateway.identity_errors import InvalidSessionError
from gateway.notices.recipients import INSTITUTION_PATH
from gateway.tables import InstitutionMail

router = APIRouter()
admin = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS, tags=["workflow"])
CONFIRM = Step("POST", "/me/institution-mail/confirm")
TOO_MANY = {"model": ErrorOut, "description": "Enough mails for now; `Retry-After` says when."}


@admin.post("/me/institution-mail", status_code=202, responses={429: TOO_MANY})
async def post_institution_mail(
    given: InstitutionMailIn, session: Session, member: Acting, parts: Parts, now: Now
) -> InstitutionMailOut:
    """Have a code mailed to an address of one's own at one's institution."""
    row = await institution_mail.ask(
        session, given.email, member=member, settings=parts.settings, keys=parts.notices, now=now
    )
    return InstitutionMailOut.model_validate(row)


@admin.post("/me/institution-mail/confirm", status_code=201, response_model=EvidenceOut)
async def post_institution_code(
    given: InstitutionCodeIn, session: Session, member: Acting, parts: Parts, now: Now
) -> EvidenceOut | Response:
    """Show the code that was mailed; it becomes evidence for an identity reviewer to accept."""
    item = await institution_mail.confirm(
        session, given.code, member=member, keys=parts.notices, now=now
    )
    # Not raised: that would undo the count of attempts.
    return render(NotFoundError(NOT_GOOD)) if item is None else EvidenceOut.model_validate(item)


@router.get(INSTITUTION_PATH + "/{mail_id}", include_in_schema=False)
async def get_page(
    mail_id: str, request: Request, session: Session, parts: Parts, code: str = ""
) -> Response:
    """Ask whoever is logged in to press a button; whether the code is good is seen then."""
    try:
        member = await by_session(request, parts, session, request.headers)
    except InvalidSessionError:
        return page("Log in first; you come back here then.", _logins(parts, mail_id, code))
    row = await session.get(InstitutionMail, mail_id)
    if row is None or row.email is None or row.person_id != member.person_id:
        return page(NOT_GOOD, status=404)
    token = csrf_token(parts.pepper, request.cookies.get(SESSION, ""))
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in (("code", code), ("csrf_token", token))
    )
    action = f'<form method="post" action="{INSTITUTION_PATH}/{escape(mail_id)}">'
    button = "<button>Yes, I read this address</button></form>"
    return page(f"Is {row.email} your address?", f"{action}{fields}{button}")


@router.post(INSTITUTION_PATH + "/{mail_id}", include_in_schema=False)
async def post_page(
    mail_id: str, request: Request, session: Session, parts: Parts, now: Now
) -> Response:
    """Take the code of the form, from who is logged in."""
    if SESSION not in request.cookies:
        raise InvalidSessionError
    form = await read_form(request)
    headers = {**request.headers, "x-csrf-token": form.get("csrf_token", "")}
    member = await by_session(request, parts, session, headers)
    await admit(session, member, CONFIRM, parts.settings, now)
    row = await session.get(InstitutionMail, mail_id)
    if row is None or row.person_id != member.person_id:
        return page(NOT_GOOD, status=404)
    code, keys = form.get("code", ""), parts.notices
    try:
        item = await institution_mail.confirm(session, code, member=member, keys=keys, now=now)
    except (ConflictError, InvalidRequestError) as error:
        return page(str(error), status=409)
    if item is None:
        return page(NOT_GOOD, status=404)
    return page("Thank you. An identity reviewer sees now that you read this address.")


def _logins(parts: ControlPlane, mail_id: str, code: str) -> str:
    """Return links to the providers, which lead back here."""
    back = quote(f"{INSTITUTION_PATH}/{quote(mail_id)}?code={quote(code)}", safe="")
    return "".join(
        f'<p><a href="/login/{one.name}?return_to={back}">{escape(one.name)}</a></p>'
        for one in parts.settings.issuers
        if one.client_id is not None
    )


router.include_router(admin)
