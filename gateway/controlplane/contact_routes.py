"""Addresses and sponsors over HTTP, and the page that a mailed link leads to.

An address is shown to its owner and to administrators, and to nobody else.
"""

from html import escape

from fastapi import APIRouter, Response

from gateway.controlplane import addresses, sponsors
from gateway.controlplane.access import Acting, Admin, Now, Parts, Session
from gateway.controlplane.addresses import Owner
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.contact_schemas import AddressIn, AddressOut, SponsorIn, SponsorOut
from gateway.controlplane.pages import page
from gateway.controlplane.routes import ERRORS
from gateway.errors import NotFoundError
from gateway.notices.recipients import CONFIRM_PATH
from gateway.tables import Address

router = APIRouter()
admin = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS, tags=["contacts"])


@admin.get("/me/address")
async def get_own_address(session: Session, member: Acting) -> AddressOut:
    """Show one's own address."""
    return addresses.shown(await addresses.get_address(session, Owner(member.person_id)))


@admin.put("/me/address", status_code=202)
async def put_own_address(
    given: AddressIn, session: Session, member: Acting, parts: Parts, now: Now
) -> AddressOut:
    """Name an address; a mail with a link goes there, and it counts once that was opened."""
    owner = Owner(member.person_id)
    address = await addresses.ask_to_confirm(
        session, owner, given.email, settings=parts.settings, actor=member.actor, now=now
    )
    return addresses.shown(address)


@admin.delete("/me/address", status_code=204)
async def delete_own_address(session: Session, member: Acting, now: Now) -> None:
    """Erase one's own address."""
    await addresses.erase(session, Owner(member.person_id), actor=member.actor, now=now)


@admin.get("/people/{person_id}/address")
async def get_persons_address(person_id: str, session: Session, _: Admin) -> AddressOut:
    """Show a person's address, to administrators alone."""
    return addresses.shown(await addresses.get_address(session, Owner(person_id)))


@admin.delete("/people/{person_id}/address", status_code=204)
async def delete_persons_address(person_id: str, session: Session, by: Admin, now: Now) -> None:
    """Erase a person's address, at their request."""
    await addresses.erase(session, Owner(person_id), actor=by.actor, now=now)


@admin.get("/organisations/{organisation_id}/contact")
async def get_contact(organisation_id: str, session: Session, _: Admin) -> AddressOut:
    """Show the address of an organisation's contact, to administrators alone."""
    owner = Owner(organisation_id=organisation_id)
    return addresses.shown(await addresses.get_address(session, owner))


@admin.put("/organisations/{organisation_id}/contact", status_code=202)
async def put_contact(
    organisation_id: str, given: AddressIn, session: Session, by: Admin, parts: Parts, now: Now
) -> AddressOut:
    """Name the address of an organisation's contact; it counts once its link was opened."""
    owner = Owner(organisation_id=organisation_id)
    address = await addresses.ask_to_confirm(
        session, owner, given.email, settings=parts.settings, actor=by.actor, now=now
    )
    return addresses.shown(address)


@admin.delete("/organisations/{organisation_id}/contact", status_code=204)
async def delete_contact(organisation_id: str, session: Session, by: Admin, now: Now) -> None:
    """Erase the address of an organisation's contact."""
    owner = Owner(organisation_id=organisation_id)
    await addresses.erase(session, owner, actor=by.actor, now=now)


@admin.get("/grants/{grant_id}/sponsor")
async def get_sponsor(grant_id: str, session: Session, _: Admin) -> SponsorOut:
    """Say who answers for a grant."""
    return SponsorOut.model_validate(await sponsors.get_sponsor(session, grant_id))


@admin.put("/grants/{grant_id}/sponsor")
async def put_sponsor(
    grant_id: str, given: SponsorIn, session: Session, by: Admin, now: Now
) -> SponsorOut:
    """Say who answers for a grant: a person, or an organisation's contact."""
    row = await sponsors.set_sponsor(session, grant_id, given, actor=by.actor, now=now)
    return SponsorOut.model_validate(row)


@admin.delete("/grants/{grant_id}/sponsor", status_code=204)
async def delete_sponsor(grant_id: str, session: Session, by: Admin, now: Now) -> None:
    """Take a sponsor away; the contact of the holder's organisation is told from now on."""
    await sponsors.remove_sponsor(session, grant_id, actor=by.actor, now=now)


@router.get(CONFIRM_PATH + "/{address_id}", include_in_schema=False)
async def get_confirmation(
    address_id: str, session: Session, parts: Parts, now: Now, code: str = ""
) -> Response:
    """Ask the reader of a mail to press a button: programs that scan mail open links, too."""
    address = await session.get(Address, address_id)
    if address is None or not addresses.is_good(address, code, parts.notices, now):
        return page("The link is not good, or not any more. Ask for another one.", status=404)
    sentence = f"Shall notices go to {address.pending_email}?"
    action = (
        f'<form method="post" action="{CONFIRM_PATH}/{escape(address_id)}?code={escape(code)}">'
    )
    return page(sentence, f"{action}<button>Yes, it is my address</button></form>")


@router.post(CONFIRM_PATH + "/{address_id}", include_in_schema=False)
async def post_confirmation(
    address_id: str, session: Session, parts: Parts, now: Now, code: str = ""
) -> Response:
    """Take the address as the reader's."""
    try:
        await addresses.confirm(session, address_id, code, keys=parts.notices, now=now)
    except NotFoundError as error:
        return page(str(error), status=404)
    return page("Thank you. Notices go to this address from now on.")


router.include_router(admin)
