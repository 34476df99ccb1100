"""`airlock engines`: add, list and remove the engines that gateways ask; no gateway starts anew."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.controlplane import engines
from gateway.controlplane.schemas import EngineIn, EngineOut
from gateway.errors import ConfigurationError
from gateway.identity.secret import load_secret
from gateway.settings import Settings

EXAMPLES = """\
Gateways ask these beside those of AIRLOCK_ENGINES, which are not listed here. A new one serves
nobody before its digest and its attestation have been checked. `airlock engine` runs one.

examples:
  airlock engines add http://engine-base:8101 --digest sha256:... --api-key-file engine.key \\
      --attest-url http://engine-base:8201
  airlock engines list
  airlock engines remove ENGINE
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="the engines that were added, the oldest first")
    add_page(listing)
    add = actions.add_parser("add", help="have gateways ask one more engine")
    add.add_argument("url", help="http://HOST:PORT")
    add.add_argument("--digest", required=True, help="of the checkpoint that it serves")
    # In a file: arguments are seen by everybody on the machine.
    add.add_argument("--api-key-file", type=Path, required=True, help="what the engine asks for")
    add.add_argument("--attest-url", help="its side-car's; required unless the settings say not")
    remove = actions.add_parser("remove", help="ask an engine no more; its running answers end")
    remove.add_argument("engine", help="id")
    for action in (listing, add):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        page = (args.limit, args.offset)
        rows = in_transaction(settings, lambda s: engines.list_engines(s, *page))
        show([EngineOut.model_validate(row) for row in rows], as_json=args.json)
    elif args.action == "add":
        added = in_transaction(settings, _adding(settings, args, now))
        show_one(added, as_json=args.json)
    else:
        in_transaction(
            settings, lambda s: engines.remove_engine(s, args.engine, actor=ACTOR, now=now)
        )
        print(f"removed {args.engine}")
    return 0


def _adding(
    settings: Settings, args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession], Awaitable[EngineOut]]:
    try:
        api_key = args.api_key_file.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{args.api_key_file}: {error.strerror}") from error
    given = EngineIn(url=args.url, digest=args.digest, api_key=api_key, attest_url=args.attest_url)
    cipher = engines.engine_cipher(load_secret(settings))

    async def work(session: AsyncSession) -> EngineOut:
        row = await engines.add_engine(
            session,
            given,
            cipher=cipher,
            must_attest=settings.require_attestation,
            actor=ACTOR,
            now=now,
        )
        return EngineOut.model_validate(row)

    return work
