"""Who takes a step on the command line: the person whose workflow key is in a file.

The step is one of the admin API's, and refused where that refuses it.
"""

import argparse
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.keyholders import check_terminal, find_holder
from gateway.controlplane.keys import PEPPER_PURPOSE
from gateway.controlplane.steps import Step, admit
from gateway.db import Database
from gateway.errors import ConfigurationError, InvalidKeyError
from gateway.identity.principal import Member
from gateway.identity.secret import load_secret
from gateway.settings import Settings


def add_key_file(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Declare `--key-file`."""
    parser.add_argument("--key-file", type=Path, required=required, help="your workflow key")


def key_holder(
    settings: Settings, key_file: Path, step: Step, now: datetime
) -> Callable[[AsyncSession], Awaitable[Member]]:
    """Return a function that lets the person whose workflow key a file holds take a step.

    It raises what the admin API answers: `AuthenticationError`, `AddressNotAllowedError`,
    `NotPermittedError`, `InsufficientScopeError`, `StepUpRequiredError`.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    try:
        authorization = f"Bearer {key_file.read_text().strip()}"
    except OSError as error:
        raise ConfigurationError(f"the key file cannot be read: {error}") from error
    pepper = load_secret(settings).derive(PEPPER_PURPOSE)

    async def find(session: AsyncSession) -> Member:
        holder = await find_holder(session, pepper, authorization, now)
        if not isinstance(holder.caller, Member):
            raise InvalidKeyError
        # What is recorded of a refusal stays, though the step's transaction is rolled back.
        database = Database(settings)
        try:
            await check_terminal(session, database, holder, now)
        finally:
            await database.close()
        await admit(session, holder.caller, step, settings, now)
        return holder.caller

    return find
