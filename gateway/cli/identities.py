"""`airlock identities`: whom identity providers' subjects are, and the end of people's logins."""

import argparse
from datetime import UTC, datetime

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.controlplane import identities, people, sessions
from gateway.controlplane.identity_schemas import IdentityIn, IdentityOut, SessionOut
from gateway.errors import NotFoundError
from gateway.setting_types import IssuerSetting
from gateway.settings import Settings

EXAMPLES = """\
Issuers are those of AIRLOCK_ISSUERS; docs/login.md describes them.

examples:
  airlock identities list --person PERSON
  airlock identities bind lab SUBJECT --person PERSON
  airlock identities bind lab nightly --person SPONSOR --service --domain bio
  airlock identities unbind IDENTITY
  airlock identities sessions --person PERSON
  airlock identities end-session SESSION
  airlock identities log-out PERSON
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="identities, the newest first")
    listing.add_argument("--person")
    add_page(listing)
    bind = actions.add_parser("bind", help="say whom an issuer's subject is")
    bind.add_argument("issuer", help="its name in the settings")
    bind.add_argument("subject", help="the `sub` of its tokens")
    bind.add_argument("--person", required=True, help="id; of a service, its sponsor")
    bind.add_argument("--label", default="login")
    bind.add_argument("--service", action="store_true", help="a program that they sponsor")
    bind.add_argument(
        "--domain", action="append", default=[], help="of a service: whose grants it may use"
    )
    unbind = actions.add_parser("unbind", help="end an identity; its running streams are cut")
    unbind.add_argument("identity", help="id")
    logins = actions.add_parser("sessions", help="live sessions, the newest first")
    logins.add_argument("--person")
    end = actions.add_parser("end-session", help="end one session, at once")
    end.add_argument("session", help="id")
    log_out = actions.add_parser("log-out", help="end every session of a person")
    log_out.add_argument("person", help="id")
    for action in (listing, bind, logins):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb.

    Raises:
        NotFoundError: The settings have no such issuer.
    """
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        rows = in_transaction(
            settings,
            lambda s: identities.list_identities(s, args.person, args.limit, args.offset),
        )
        show([IdentityOut.model_validate(row) for row in rows], as_json=args.json)
    elif args.action == "bind":
        issuer = _configured(settings, args.issuer)
        given = IdentityIn(
            issuer=args.issuer,
            subject=args.subject,
            person_id=args.person,
            label=args.label,
            domains=args.domain if args.service or args.domain else None,
        )
        bound = in_transaction(
            settings, lambda s: identities.bind_identity(s, given, issuer, actor=ACTOR, now=now)
        )
        show_one(IdentityOut.model_validate(bound), as_json=args.json)
    elif args.action == "unbind":
        in_transaction(
            settings, lambda s: identities.unbind_identity(s, args.identity, actor=ACTOR, now=now)
        )
    elif args.action == "sessions":
        live = in_transaction(
            settings, lambda s: sessions.list_sessions(s, args.person, settings, now)
        )
        show([SessionOut.model_validate(row) for row in live], as_json=args.json)
    elif args.action == "end-session":
        in_transaction(
            settings, lambda s: sessions.end_session(s, args.session, None, actor=ACTOR, now=now)
        )
    else:
        in_transaction(settings, lambda s: people.log_out(s, args.person, actor=ACTOR, now=now))
    return 0


def _configured(settings: Settings, name: str) -> IssuerSetting:
    for issuer in settings.issuers:
        if issuer.name == name:
            return issuer
    raise NotFoundError(f"AIRLOCK_ISSUERS has no '{name}'.")
