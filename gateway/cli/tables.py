"""How verbs reach the database, and how they print rows: as a table, or as JSON for scripts."""

import argparse
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import anyio
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db import Database
from gateway.errors import ConfigurationError
from gateway.identity.principal import Maker
from gateway.identity.proof import TERMINAL, Assurance
from gateway.settings import Settings
from models.cli.numbers import LARGEST, whole
from models.cli.terminal import printable

ACTOR = "command line"
WIDE = 1000
"""Of a row that is not for a terminal."""
Result = TypeVar("Result")


def operator(now: datetime) -> Maker:
    """Return who makes keys here: whoever has the server's terminal has its secret, too."""
    return Maker(ACTOR, Assurance(TERMINAL, None, now.timestamp()))


def in_transaction(settings: Settings, work: Callable[[AsyncSession], Awaitable[Result]]) -> Result:
    """Run `work` in one transaction on the gateway's database and return its result.

    Raises:
        ConfigurationError: The database's schema is not the code's.
    """

    async def main(database: Database) -> Result:
        async with database.transaction() as session:
            return await work(session)

    return with_database(settings, main)


def with_database(settings: Settings, work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Run `work`, which opens transactions itself, and return its result.

    Raises:
        ConfigurationError: The database's schema is not the code's.
    """

    async def main() -> Result:
        async with Database(settings) as database:
            current, newest = await database.revisions()
            if current != newest and not settings.is_embedded:
                raise ConfigurationError("the database's schema is old: run `airlock migrate`")
            if current != newest:
                await database.migrate()
            return await work(database)

    return anyio.run(main)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def add_page(parser: argparse.ArgumentParser) -> None:
    """Declare which part of a long list is wanted."""
    parser.add_argument(
        "--limit", type=whole(1, LARGEST), default=100, help="how many (%(default)s)"
    )
    parser.add_argument(
        "--offset", type=whole(0, LARGEST), default=0, help="how many to pass over (0)"
    )


def show(rows: Sequence[BaseModel], *, as_json: bool) -> None:
    """Print rows of one kind."""
    values = [row.model_dump(mode="json") for row in rows]
    if as_json:
        print(json.dumps(values, indent=2))
        return
    if not values:
        print("none")
        return
    table = Table()
    for name in values[0]:
        # Ids must be whole: they are what the next command needs.
        table.add_column(name, overflow="fold", no_wrap=name == "id")
    for value in values:
        # People name themselves and their keys: no markup, and nothing that a terminal obeys.
        table.add_row(*(Text(printable(cell)) for cell in value.values()))
    console = Console()
    if not console.is_terminal:
        # What a pipe, or a pod without a terminal, gets would be folded at 80 characters.
        console.width = WIDE
    console.print(table)


def show_one(row: BaseModel, *, as_json: bool) -> None:
    """Print one row, a field a line."""
    value = row.model_dump(mode="json")
    if as_json:
        print(json.dumps(value, indent=2))
        return
    width = max(map(len, value))
    for name, cell in value.items():
        print(f"{name:<{width}}  {printable(cell)}")
