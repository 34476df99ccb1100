"""Who takes a step on the command line: the person whose workflow key is in a file."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.keyholders import member
from gateway.controlplane.keys import PEPPER_PURPOSE
from gateway.errors import ConfigurationError
from gateway.identity.principal import Member
from gateway.identity.secret import load_secret
from gateway.settings import Settings


def add_key_file(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Declare `--key-file`."""
    parser.add_argument("--key-file", type=Path, required=required, help="your workflow key")


def key_holder(
    settings: Settings, key_file: Path, now: datetime
) -> Callable[[AsyncSession], Awaitable[Member]]:
    """Return a function that looks up whose workflow key a file holds.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    try:
        authorization = f"Bearer {key_file.read_text().strip()}"
    except OSError as error:
        raise ConfigurationError(f"the key file cannot be read: {error}") from error
    pepper = load_secret(settings).derive(PEPPER_PURPOSE)
    return lambda session: member(session, pepper, authorization, now)
