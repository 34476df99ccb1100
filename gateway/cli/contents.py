"""`airlock contents`: open kept contents, or destroy them, by two people; read them offline."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.checkpoint import VerifierKey
from gateway.audit.log_key import log_signer
from gateway.cli.tables import add_json, add_page, in_transaction, show, show_one
from gateway.cli.workflow_key import add_key_file, key_holder
from gateway.contents.bundle import Bundle, open_bundle, read_bundle
from gateway.contents.holder import make_holder, read_private
from gateway.controlplane import contents, destructions
from gateway.controlplane.contents_schemas import (
    ContentsIn,
    ContentsOut,
    DestructionIn,
    DestructionOut,
    DestructionStepOut,
)
from gateway.controlplane.steps import Step
from gateway.errors import AuditFileError, ConfigurationError
from gateway.identity.secret import load_secret
from gateway.settings import Settings
from gateway.tables import ContentOpening
from models.cli.terminal import printable

EXAMPLES = """\
keygen and open need no gateway and no database: run them where the private key is kept.

examples:
  airlock contents keygen --to holder.pem > holder.pub
  airlock contents ask req_0123 --reason "case 12" --key-file ulla.key
  airlock contents approve OPENING --key-file app.key
  airlock contents fetch OPENING --to sealed.json --key-file ulla.key
  airlock contents open sealed.json --private-key holder.pem --log-key log.pub --to opened
  airlock contents destroy --request req_0123 --reason "case 13" --key-file ulla.key
  airlock contents destroy --grant GRANT --reason "case 13" --key-file ulla.key --submit
  airlock contents approve-destruction DESTRUCTION --key-file app.key --submit
"""

STEPS = {
    "ask": Step("POST", "/contents/openings"),
    "approve": Step("POST", "/contents/openings/{opening_id}/approve"),
    "fetch": Step("POST", "/contents/openings/{opening_id}/release"),
    "destroy": Step("POST", "/contents/destructions"),
    "approve-destruction": Step("POST", "/contents/destructions/{destruction_id}/approve"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    keygen = actions.add_parser("keygen", help="make the holder's pair of keys; print the public")
    keygen.add_argument("--to", type=Path, required=True, help="where the private key goes")
    listing = actions.add_parser("list", help="what was asked for, and by whom; the newest first")
    ended = actions.add_parser("destructions", help="what was destroyed by hand, or is to be")
    for action in (listing, ended):
        add_page(action)
    ask = actions.add_parser("ask", help="ask for the contents of one request")
    ask.add_argument("request")
    ask.add_argument("--reason", required=True)
    approve = actions.add_parser("approve", help="agree, as another person")
    fetch = actions.add_parser("fetch", help="get them, sealed, once, within the hour")
    for action in (approve, fetch):
        action.add_argument("opening")
    fetch.add_argument("--to", type=Path, required=True, metavar="FILE")
    opening = actions.add_parser("open", help="read them, without a network or database")
    opening.add_argument("file", type=Path)
    opening.add_argument("--private-key", type=Path, required=True, help="the holder's")
    opening.add_argument("--log-key", required=True, help="the log's public key, or its file")
    opening.add_argument("--witness", help="the public key that must have cosigned, too")
    opening.add_argument("--to", type=Path, required=True, metavar="DIR", help="a new directory")
    for action in (keygen, opening):
        action.add_argument("--passphrase-file", type=Path, help="of the private key")
    destroy = actions.add_parser("destroy", help="ask to destroy them early; a dry run by default")
    which = destroy.add_mutually_exclusive_group(required=True)
    which.add_argument("--request", help="those of one request")
    which.add_argument("--grant", help="those of every request that rests on it")
    destroy.add_argument("--reason", required=True)
    agree = actions.add_parser("approve-destruction", help="destroy them, as the second person")
    agree.add_argument("destruction", help="id")
    for action in (destroy, agree):
        action.add_argument("--submit", action="store_true", help="do it, not only say how much")
    for action in (ask, approve, fetch, destroy, agree):
        add_key_file(action)
    for action in (listing, ended, ask, approve, destroy, agree):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    actions: dict[str, Callable[[argparse.Namespace], None]] = {
        "keygen": _keygen,
        "list": _list,
        "destructions": _list,
        "destroy": _destroy,
        "approve-destruction": _destroy,
        "ask": _step,
        "approve": _step,
        "fetch": _fetch,
        "open": _open,
    }
    actions[args.action](args)
    return 0


def _keygen(args: argparse.Namespace) -> None:
    print(make_holder(args.to, _passphrase(args)), end="")


def _list(args: argparse.Namespace) -> None:
    page = (args.limit, args.offset)
    settings = Settings(home=args.home)
    if args.action == "destructions":
        ended = in_transaction(settings, lambda s: destructions.list_destructions(s, *page))
        show([DestructionOut.model_validate(row) for row in ended], as_json=args.json)
        return
    rows = in_transaction(settings, lambda s: contents.list_openings(s, *page))
    show([ContentsOut.model_validate(row) for row in rows], as_json=args.json)


def _step(args: argparse.Namespace) -> None:
    settings, now = Settings(home=args.home), datetime.now(UTC)
    holder = key_holder(settings, args.key_file, STEPS[args.action], now)

    async def work(session: AsyncSession) -> ContentOpening:
        who = await holder(session)
        if args.action == "approve":
            return await contents.approve(session, args.opening, member=who, now=now)
        given = ContentsIn(request_id=args.request, reason=args.reason)
        return await contents.ask(session, given, member=who, now=now)

    show_one(ContentsOut.model_validate(in_transaction(settings, work)), as_json=args.json)


def _destroy(args: argparse.Namespace) -> None:
    settings, now, dry_run = Settings(home=args.home), datetime.now(UTC), not args.submit
    holder = key_holder(settings, args.key_file, STEPS[args.action], now)

    async def work(session: AsyncSession) -> DestructionStepOut:
        who = await holder(session)
        if args.action == "approve-destruction":
            return await destructions.approve(
                session, args.destruction, member=who, now=now, dry_run=dry_run
            )
        given = DestructionIn(request_id=args.request, grant_id=args.grant, reason=args.reason)
        return await destructions.ask(session, given, member=who, now=now, dry_run=dry_run)

    step = in_transaction(settings, work)
    if args.json:
        print(step.model_dump_json(indent=2))
        return
    show_one(step.concerned, as_json=False)
    if step.destruction is None:
        print("nothing was done: this was a dry run; --submit does it")
    else:
        show_one(step.destruction, as_json=False)


def _fetch(args: argparse.Namespace) -> None:
    settings, now = Settings(home=args.home), datetime.now(UTC)
    signer = log_signer(settings, load_secret(settings))
    holder = key_holder(settings, args.key_file, STEPS[args.action], now)

    async def work(session: AsyncSession) -> Bundle:
        who = await holder(session)
        return await contents.release(session, args.opening, signer, member=who, now=now)

    # They are handed out once: a file that cannot be written is found out before.
    try:
        out = args.to.open("x")
    except OSError as error:
        raise ConfigurationError(f"{args.to}: {error.strerror}") from error
    with out:
        try:
            out.write(in_transaction(settings, work).model_dump_json())
        except BaseException:
            args.to.unlink()
            raise
    print(f"wrote {args.to}")


def _open(args: argparse.Namespace) -> None:
    private = read_private(args.private_key, _passphrase(args))
    witness = _key(args.witness) if args.witness else None
    try:
        raw = args.file.read_bytes()
    except OSError as error:
        raise AuditFileError(f"{args.file}: {error.strerror}") from error
    opened = open_bundle(read_bundle(raw), private, _key(args.log_key), witness)
    try:
        args.to.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"{args.to}: {error.strerror}") from error
    (args.to / "request").write_bytes(opened.request)
    if opened.answer is not None:
        (args.to / "answer").write_bytes(opened.answer)
    for fact in opened.facts:
        print(printable(fact))


def _key(given: str) -> VerifierKey:
    path = Path(given)
    return VerifierKey.parse(path.read_text() if path.exists() else given)


def _passphrase(args: argparse.Namespace) -> bytes | None:
    given: Path | None = args.passphrase_file
    return None if given is None else given.read_bytes().strip()
