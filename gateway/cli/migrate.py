"""`airlock migrate`: bring the database to the current schema."""

import argparse

import anyio

from gateway.db import Database
from gateway.settings import Settings

EXAMPLES = """\
examples:
  airlock migrate
  AIRLOCK_DATABASE_URL=postgresql+psycopg://airlock@db/airlock airlock migrate --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("--dry-run", action="store_true", help="say what would change")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""

    async def main() -> None:
        database = Database(Settings(home=args.home))
        try:
            current, newest = await database.revisions()
            if current == newest:
                print(f"the schema is current ({newest})")
            elif args.dry_run:
                print(f"would go from schema {current or '(none)'} to {newest}")
            else:
                await database.migrate()
                print(f"went from schema {current or '(none)'} to {newest}")
        finally:
            await database.close()

    anyio.run(main)
    return 0
