"""Waivers: exceptions to one rule for one subset of one family, by two people, for a while.

A waiver is a signed file, `store/waivers/<digest>.dsse.json`. With fewer than two distinct holders'
signatures it is a proposal and counts for nothing; nor does one that is expired or damaged.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import StringConstraints, model_validator

from models.documents import Digest, Document, Instant, Name, write_bytes
from models.errors import CheckpointNotFoundError, SignatureError
from models.signing import countersign, peek, seal, unseal
from models.store import MIN_PREFIX, CheckpointStore
from models.trust import TrustStore

MAX_DAYS = 180
NEEDED_HOLDERS = 2
Rule = Literal["accuracy", "gap_closed", "excess", "floor"]


class Waiver(Document):
    """An exception to one rule."""

    schema_version: Literal[1] = 1
    family: Name
    subset: Name
    rule: Rule
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    created_at: Instant
    expires_at: Instant

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if not self.created_at < self.expires_at <= self.created_at + timedelta(days=MAX_DAYS):
            raise ValueError(f"a waiver lasts {MAX_DAYS} days at most")
        return self

    @property
    def name(self) -> str:
        """The rule that it excepts, as verdicts call it."""
        return f"{self.subset}.{self.rule}"

    def is_in_force(self, now: datetime) -> bool:
        """Whether it counts at a moment, if it is signed."""
        return self.created_at <= now < self.expires_at


class Listed(NamedTuple):
    """A waiver in the store, and whether it counts."""

    digest: Digest
    waiver: Waiver
    counts: bool
    problem: str


def write_waiver(
    store: CheckpointStore, waiver: Waiver, keys: Sequence[Ed25519PrivateKey]
) -> Digest:
    """Store a waiver, signed with every key, and return its digest.

    Raises:
        SignatureError: There is one with these values already; approve that one.
    """
    try:
        write_bytes(_path(store, waiver.document_digest), seal(waiver, keys), replace=False)
    except FileExistsError as error:
        raise SignatureError("this waiver is in the store already; approve it") from error
    return waiver.document_digest


def approve_waiver(store: CheckpointStore, digest: Digest, key: Ed25519PrivateKey) -> None:
    """Add a signature to a stored waiver.

    Raises:
        SignatureError: The file is not that waiver.
        CheckpointNotFoundError: The store has none of that digest.
    """
    path = _path(store, digest)
    write_bytes(path, countersign(_read(path), Waiver, key))


def find_waiver(store: CheckpointStore, prefix: str) -> tuple[Digest, Waiver]:
    """Return the stored waiver whose digest begins with `prefix`, whoever signed it.

    Raises:
        CheckpointNotFoundError: None or several match.
        SignatureError: The file is not that waiver.
    """
    digits = prefix.removeprefix("sha256:")
    matches = [path for path in _paths(store) if path.name.startswith(digits)]
    if len(digits) < MIN_PREFIX or len(matches) != 1:
        raise CheckpointNotFoundError(f"waiver {prefix}")
    waiver = peek(_read(matches[0]), Waiver)
    return waiver.document_digest, waiver


def list_waivers(store: CheckpointStore, trust: TrustStore, now: datetime) -> list[Listed]:
    """Return every stored waiver that can be read, and whether it counts."""
    listed = []
    for path in _paths(store):
        try:
            waiver = peek(path.read_bytes(), Waiver)
        except (SignatureError, OSError):
            continue  # What cannot be read excepts nothing.
        try:
            unseal(path.read_bytes(), Waiver, trust, "waiver", threshold=NEEDED_HOLDERS, now=now)
            problem = "" if waiver.is_in_force(now) else "expired or not yet in force"
        except SignatureError as error:
            problem = str(error)
        listed.append(Listed(waiver.document_digest, waiver, not problem, problem))
    return sorted(listed, key=lambda item: (item.waiver.expires_at, item.digest))


def waivers_in_force(
    store: CheckpointStore, trust: TrustStore, now: datetime
) -> tuple[Waiver, ...]:
    """Return the waivers that two holders have signed and that have not expired."""
    return tuple(item.waiver for item in list_waivers(store, trust, now) if item.counts)


def _path(store: CheckpointStore, digest: Digest) -> Path:
    return store.root / "waivers" / f"{digest.removeprefix('sha256:')}.dsse.json"


def _paths(store: CheckpointStore) -> list[Path]:
    return sorted((store.root / "waivers").glob("[0-9a-f]*.dsse.json"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointNotFoundError(f"waiver {path.name}") from error
