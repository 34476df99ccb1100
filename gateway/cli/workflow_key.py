"""Who takes a step on the command line: the person whose workflow key is in a file.

The step is one of the admin API's, and refused where that refuses it.
"""

import argparse
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.keyholders import check_terminal, find_holder
from gateway.controlplane.steps import Step, admit
from gateway.db import Database
from gateway.errors import ConfigurationError, InvalidKeyError
from gateway.identity.api_keys import parse
from gateway.identity.peppers import load_peppers
from gateway.identity.principal import Member
from gateway.identity.secret import load_secret
from gateway.settings import Settings

MOST_BYTES = 4096
"""Of a key's file; a key has less than a hundred."""


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
        ConfigurationError: The file cannot be read, or holds no key.
    """
    authorization = f"Bearer {_read(key_file)}"
    peppers = load_peppers(settings, load_secret(settings))

    async def find(session: AsyncSession) -> Member:
        holder = await find_holder(session, peppers, authorization, now)
        if not isinstance(holder.caller, Member):
            raise InvalidKeyError
        # What is recorded of a refusal stays, though the step's transaction is rolled back.
        async with Database(settings) as database:
            await check_terminal(session, database, holder, now)
        await admit(session, holder.caller, step, settings, now)
        return holder.caller

    return find


def _read(key_file: Path) -> str:
    """Return what a file holds, where it looks like a key; no word of it, nor its name, is shown.

    Somebody may have given the key itself in the place of the file.

    Raises:
        ConfigurationError: It cannot be read, or holds no key.
    """
    try:
        with key_file.open("rb") as file:
            held = file.read(MOST_BYTES)
    except OSError as error:
        raise ConfigurationError(f"the key file cannot be read: {error.strerror}") from error
    text = held.decode("ascii", "replace").strip()
    if parse(text) is None:
        raise ConfigurationError("the key file holds no key of ours, or more than one")
    return text
