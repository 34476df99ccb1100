"""Private keys on this machine, and the set of them that a demonstration uses.

    <home>/trust/private/<holder>.pem

In production every key is on another person's machine and named on the command line. The embedded
set-up holds all of them, which proves nothing about who approved what; its verbs say so.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.errors import DocumentError, KeyUnusableError
from models.signing import make_private_key, read_private_key
from models.trust import Role, TrustedKey, TrustStore, key_id, read_trust

DEMO_HOLDERS: dict[str, Role] = {
    "evaluator": "evaluator",
    "releaser-a": "releaser",
    "releaser-b": "releaser",
    "waiver-a": "waiver",
    "waiver-b": "waiver",
    "engine": "engine",
}
DEFAULT_LIFETIME = timedelta(days=365)


class Chosen(NamedTuple):
    """Keys to sign with."""

    keys: tuple[Ed25519PrivateKey, ...]
    are_demo_keys: bool
    """Whether nobody named them: they lie on this machine for the demonstration."""


def choose_keys(home: Path, role: Role, files: Sequence[Path], needed: int) -> Chosen:
    """Return the keys in `files`; without any, the demonstration's if there are exactly enough.

    Args:
        home: Whose trust directory is looked into.
        role: What the keys must be trusted for.
        files: Named on the command line.
        needed: How many signatures the document needs.

    Raises:
        KeyUnusableError: A file holds no key, or none is named and this is no demonstration.
    """
    if files:
        return Chosen(tuple(read_private_key(path) for path in files), are_demo_keys=False)
    directory = private_directory(home)
    try:
        trusted = {key.keyid for key in read_trust(home).keys if role in key.roles}
    except DocumentError:
        trusted = set()
    keys = tuple(read_private_key(path) for path in sorted(directory.glob("*.pem")))
    mine = tuple(key for key in keys if key_id(key.public_key().public_bytes_raw()) in trusted)
    if len(mine) != needed:
        raise KeyUnusableError(
            directory, f"name the {role}'s key with --key (here are {len(mine)}, needed {needed})"
        )
    return Chosen(mine, are_demo_keys=True)


def make_demo_trust(home: Path, now: datetime) -> TrustStore:
    """Make every key of `DEMO_HOLDERS` and return the store that trusts them.

    Raises:
        KeyUnusableError: One of the files is there already.
    """
    private_directory(home).mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = []
    for holder, role in DEMO_HOLDERS.items():
        key = make_private_key(private_directory(home) / f"{holder}.pem")
        public = key.public_key().public_bytes_raw()
        keys.append(trusted_key(public, holder, (role,), now, DEFAULT_LIFETIME))
    return TrustStore(keys=tuple(keys))


def trusted_key(
    public: bytes, holder: str, roles: tuple[Role, ...], now: datetime, lifetime: timedelta
) -> TrustedKey:
    """Return a key's entry for the trust store, valid from now on."""
    return TrustedKey(
        keyid=key_id(public),
        public=public.hex(),
        holder=holder,
        roles=roles,
        not_before=now,
        expires_at=now + lifetime,
    )


def private_directory(home: Path) -> Path:
    """Return where the demonstration's private keys are."""
    return home / "trust" / "private"
