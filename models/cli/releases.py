"""What the verbs that sign releases have in common: their words, their keys, what they print."""

import argparse
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from models.keyring import choose_keys
from models.policy import DEFAULT_POLICY
from models.promotion import Signed


def add_signing(parser: argparse.ArgumentParser) -> None:
    """Declare `--key` and `--dry-run`."""
    parser.add_argument(
        "--key",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="a releaser's private key, repeatable (default: the demonstration's, where it is one)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show or judge, change nothing")


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Declare `--policy`."""
    parser.add_argument("--policy", type=Path, default=DEFAULT_POLICY, help="default: %(default)s")


def signing_keys(
    args: argparse.Namespace, needed: int, console: Console
) -> tuple[Ed25519PrivateKey, ...]:
    """Return the keys to sign with, and say so when they are the demonstration's.

    Raises:
        KeyUnusableError: A file holds no key, or none is named and this is no demonstration.
    """
    chosen = choose_keys(args.home, "releaser", args.key, needed)
    if chosen.are_demo_keys:
        console.print("signed with the demonstration's keys; in production each is a person's own")
    return chosen.keys


def announce(console: Console, signed: Signed) -> None:
    """Say what a release points to, and whether it does already."""
    release = signed.release
    if signed.is_complete:
        console.print(
            f"{release.alias} v{release.version} -> {release.checkpoint} "
            f"until {release.expires_at:%Y-%m-%d %H:%M} UTC"
        )
    else:
        console.print(
            f"{release.alias} v{release.version} is proposed; it takes effect when another "
            f"releaser runs `airlock promote --approve {release.alias} --key FILE`"
        )
