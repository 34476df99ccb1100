"""`airlock bootstrap`: make the first administrator, from the server's own terminal."""

import argparse
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import in_transaction, operator
from gateway.controlplane import bootstrap, keys
from gateway.controlplane.key_schemas import KeyIn
from gateway.identity.peppers import first_pepper, load_peppers
from gateway.identity.secret import load_secret
from gateway.settings import Settings

EXAMPLES = """\
It prints a code that is good once, for 15 minutes. Log in, then send it to
POST /admin/v1/me/first-administrator; docs/login.md shows how. Where nobody logs
in, --key makes an administrator's key instead. Neither works once there is an
administrator.

examples:
  airlock bootstrap
  airlock bootstrap --key
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("--key", action="store_true", help="make a key, for use without logins")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    secret = load_secret(settings)
    peppers = load_peppers(settings, secret)

    async def make_key(session: AsyncSession) -> str:
        await bootstrap.check_no_administrator(session, now)
        given = KeyIn(admin=True, label="first administrator")
        new = await keys.create_key(session, given, peppers=peppers, maker=operator(now), now=now)
        return new.text

    async def make_code(session: AsyncSession) -> str:
        return await bootstrap.make_code(session, pepper=first_pepper(secret), now=now)

    print(in_transaction(settings, make_key if args.key else make_code))
    return 0
