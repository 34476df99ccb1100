"""Trust: whose signatures count, for what, and until when.

One file that operators keep apart from the checkpoint store, since who may write checkpoints must
not decide who may approve them.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from models.documents import (
    Document,
    HexSha256,
    Instant,
    canonical_json,
    read_document,
    write_bytes,
)
from models.locks import locked

Role = Literal["evaluator", "releaser", "waiver", "engine"]
"""evaluator: plans and reports; releaser: releases and revocations; waiver: exceptions to the
policy; engine: attestations of what an engine serves."""


class TrustedKey(Document):
    """A public key and what it is trusted for."""

    keyid: HexSha256
    """SHA-256 of the 32 bytes of the public key, so that one key cannot count twice."""
    public: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """Ed25519, 32 bytes in hexadecimal."""
    holder: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """The person or machine that holds it; two keys of one holder, however spelled, count once."""
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    not_before: Instant
    expires_at: Instant
    revoked_at: Instant | None = None

    @model_validator(mode="after")
    def _is_named_for_its_bytes(self) -> Self:
        if self.keyid != key_id(bytes.fromhex(self.public)):
            raise ValueError("keyid must be the SHA-256 of the public key")
        return self

    def counts(self, role: Role, now: datetime) -> bool:
        """Whether a signature by this key counts at `now`; revocation is for ever."""
        valid = self.not_before <= now < self.expires_at
        return role in self.roles and valid and self.revoked_at is None


class TrustStore(Document):
    """Every key that counts; the file is replaced as a whole."""

    schema_version: Literal[1] = 1
    keys: tuple[TrustedKey, ...]

    @model_validator(mode="after")
    def _has_distinct_keys(self) -> Self:
        if len({key.keyid for key in self.keys}) != len(self.keys):
            raise ValueError("a key is listed twice")
        return self

    def usable(self, role: Role, now: datetime) -> list[TrustedKey]:
        """Return the keys that count for a role at a moment."""
        return [key for key in self.keys if key.counts(role, now)]

    def ever(self) -> "TrustStore":
        """Return the store as if no key had been revoked, to ask who signed what is past."""
        return TrustStore(
            keys=tuple(key.model_copy(update={"revoked_at": None}) for key in self.keys)
        )

    def holder(self, keyid: str) -> str:
        """Return who holds a key of this store."""
        return next(key.holder for key in self.keys if key.keyid == keyid)


def key_id(public: bytes) -> str:
    """Return the name of a public key: the SHA-256 of its bytes."""
    return hashlib.sha256(public).hexdigest()


def trust_path(home: Path) -> Path:
    """Return where the trust store is kept."""
    return home / "trust" / "keys.json"


@contextmanager
def trust_lock(home: Path) -> Iterator[None]:
    """Be the one who changes the trust store, from reading to writing.

    Of two who write at once what they read before, one's change would be gone: a revocation, say.
    """
    with locked(trust_path(home).with_suffix(".lock")):
        yield


def read_trust(home: Path) -> TrustStore:
    """Return the trust store; without one nothing is trusted.

    Raises:
        DocumentError: It is missing or damaged.
    """
    return read_document(trust_path(home), TrustStore)


def write_trust(home: Path, trust: TrustStore) -> None:
    """Replace the trust store as a whole; whoever read it before holds `trust_lock`."""
    content = canonical_json(trust.model_dump(mode="json"))
    write_bytes(trust_path(home), content, mode=0o644)
