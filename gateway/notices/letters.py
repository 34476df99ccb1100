"""The words of a mail: plain text, with ids, domains and moments, and links to this host alone.

Nothing that anybody has written is in it (no purpose, no reason, no name), and no secret but the
one-time code of an address that is to be confirmed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import NamedTuple

from gateway.notices.delivery import Failed
from gateway.policy.notices import SECURITY, Event


class Words(NamedTuple):
    """A subject line and a sentence, with the data's names in braces."""

    subject: str
    sentence: str


WORDS: Mapping[Event, Words] = {
    Event.APPLICATION_SUBMITTED: Words(
        "Your application was submitted", "Your application {application} waits for reviewers."
    ),
    Event.APPLICATION_TAKEN_UP: Words(
        "Your application is being reviewed", "A reviewer has taken up application {application}."
    ),
    Event.APPLICATION_PASSED: Words(
        "Your application has passed a review",
        "Application {application} has passed a review; its state is now {state}.",
    ),
    Event.APPLICATION_RETURNED: Words(
        "Your application was returned",
        "Application {application} was returned. Read what was said of it, edit it and submit it "
        "again.",
    ),
    Event.APPLICATION_REJECTED: Words(
        "Your application was rejected",
        "Application {application} was rejected. Read what was said of it; you may appeal once.",
    ),
    Event.APPLICATION_APPROVED: Words(
        "Your application is approved",
        "Application {application} is approved. Accept the terms of use in force to get the "
        "grants.",
    ),
    Event.APPLICATION_APPEALED: Words(
        "Your appeal has arrived", "Other reviewers will look at application {application}."
    ),
    Event.APPLICATION_GRANTED: Words(
        "Your application is complete", "The grants of application {application} are made."
    ),
    Event.APPLICATION_WITHDRAWN: Words(
        "Your application was withdrawn", "Application {application} was withdrawn."
    ),
    Event.GRANT_CREATED: Words(
        "You have a new grant", "Grant {grant} opens the domain {domain} until {expires_at}."
    ),
    Event.GRANT_SUSPENDED: Words(
        "A grant was suspended", "Grant {grant} (domain {domain}) was suspended."
    ),
    Event.GRANT_RESUMED: Words(
        "A grant counts again", "The suspension of grant {grant} (domain {domain}) was ended."
    ),
    Event.GRANT_REVOKED: Words(
        "A grant was revoked", "Grant {grant} (domain {domain}) was revoked, for ever."
    ),
    Event.GRANT_FIRST_USED: Words(
        "A grant was used for the first time",
        "Grant {grant} (domain {domain}), for which you answer, was used for the first time. If "
        "you did not expect that, suspend it or write to the operators.",
    ),
    Event.GRANT_EXPIRING: Words(
        "A grant ends soon", "Grant {grant} (domain {domain}) ends at {ends_at}. Apply again."
    ),
    Event.GRANT_EXPIRED: Words("A grant has ended", "Grant {grant} (domain {domain}) has ended."),
    Event.GRANT_LAPSED: Words(
        "A grant does not count any more",
        "Since {ends_at} grant {grant} (domain {domain}) is suspended, because something that it "
        "rests on is over; `airlock explain` says what.",
    ),
    Event.VERIFICATION_ENDING: Words(
        "A verification ends soon",
        "At {ends_at} a verification ends that grant {grant} (domain {domain}) rests on. Add new "
        "evidence before.",
    ),
    Event.USAGE_REVIEW_DUE: Words(
        "A review of a grant's use is due",
        "The use of grant {grant} (domain {domain}) is to be reviewed before {ends_at}.",
    ),
    Event.USAGE_REVIEW_OVERDUE: Words(
        "A review of a grant's use is overdue",
        "Grant {grant} (domain {domain}) is suspended until its use is reviewed.",
    ),
    Event.EMERGENCY_ASKED: Words(
        "Break-glass was asked for",
        "Somebody asks to open {domain} at once (opening {opening}). It takes a second person.",
    ),
    Event.EMERGENCY_OPENED: Words(
        "Break-glass was opened", "Two people have opened {domain} at once (opening {opening})."
    ),
    Event.DOOR_CLOSED: Words("A door was closed", "Closure {closure} is in force."),
    Event.KEY_CREATED: Words("You have a new key", "Key {key} was made in your name."),
    Event.KEY_ROTATED: Words("A key of yours was replaced", "Key {key} has a successor."),
    Event.KEY_REVOKED: Words("A key of yours was revoked", "Key {key} does not count any more."),
    Event.KEY_LEAKED: Words(
        "A key of yours was found by others",
        "Key {key} was reported as leaked and does not count any more. Make a new one, and find "
        "out how others came by it.",
    ),
    Event.ADDRESS_TO_CONFIRM: Words(
        "Confirm your address",
        "Somebody has named this address at Airlock. Open the link within a day if it was you; do "
        "nothing otherwise.",
    ),
    Event.ADDRESS_CHANGING: Words(
        "Your address is about to change", "Another address was named in the place of this one."
    ),
    Event.INSTITUTION_MAIL: Words(
        "Show that this is your address",
        "Somebody who is logged in at Airlock says that they read this address at their "
        "institution. If it was you, open the link within an hour, logged in as yourself, or show "
        "what stands after code= with your workflow key. Do nothing otherwise.",
    ),
}


@dataclass(frozen=True)
class Sender:
    """Who writes: the address in `From`, and where readers find the gateway."""

    address: str
    public_url: str | None


def letter(
    sender: Sender,
    to: str,
    notice_id: str,
    event: Event,
    data: Mapping[str, object],
    *,
    created_at: datetime,
    link: str | None = None,
) -> EmailMessage:
    """Return a mail.

    Args:
        sender: Who writes.
        to: The address.
        notice_id: Makes the message's id, so that a mail that comes twice is known by it.
        event: What has happened.
        data: What is said of it.
        created_at: When it happened.
        link: A path on this host that the reader is to open.

    Raises:
        Failed: The header would name anybody but that address.
    """
    words = WORDS[event]
    named = {name: "everything" if value is None else value for name, value in data.items()}
    lines = [words.sentence.format_map(named), ""]
    if link is not None and sender.public_url is not None:
        lines += [f"{sender.public_url}{link}", ""]
    elif sender.public_url is not None:
        lines += [f"Airlock: {sender.public_url}", ""]
    if event in SECURITY and link is None:
        lines.append("If this was not you and you did not expect it, tell the operators at once.")
    elif link is None:
        lines.append(f"To get no more of these: airlock notices unwant {event}")
    message = EmailMessage()
    message["From"], message["To"] = sender.address, to
    # The mail package reads what it is given, and a reader of mail will do the same.
    if [one.addr_spec for one in message["To"].addresses] != [to]:
        raise Failed("the address has two readings", is_final=True)
    message["Subject"] = f"[Airlock] {words.subject}"
    message["Date"] = format_datetime(created_at)
    message["Message-ID"] = f"<{notice_id}@{sender.address.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(lines) + "\n")
    return message
