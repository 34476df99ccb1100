"""Revocations: a checkpoint that must not be served any more, at once and for ever.

    store/revocations/<hex of the checkpoint>.dsse.json

One releaser is enough, since it only takes away. A file counts from the moment that it is there,
also when its signature cannot be checked (its key may have expired since): who can write there can
remove releases as well, and refusing is the safe side.
"""

from datetime import datetime
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from models.documents import Digest, Document, Instant, write_bytes
from models.errors import SignatureError
from models.signing import peek, seal, unseal
from models.store import CheckpointStore
from models.trust import TrustStore


class Revocation(Document):
    """The end of a checkpoint."""

    schema_version: Literal[1] = 1
    checkpoint: Digest
    reason: str = Field(min_length=1)
    created_at: Instant


def revoke(
    store: CheckpointStore,
    trust: TrustStore,
    checkpoint: Digest,
    key: Ed25519PrivateKey,
    *,
    reason: str,
    now: datetime,
) -> Revocation:
    """Revoke a checkpoint; one that is revoked already stays so, with its first reason.

    Raises:
        SignatureError: The key is not a trusted releaser's.
    """
    path = revocation_path(store, checkpoint)
    revocation = Revocation(checkpoint=checkpoint, reason=reason, created_at=now)
    raw = seal(revocation, [key])
    unseal(raw, Revocation, trust, "releaser", threshold=1, now=now)
    try:
        write_bytes(path, raw, replace=False)
    except FileExistsError:
        earlier = verified_revocations(store, trust)
        if checkpoint in earlier:
            return earlier[checkpoint]
        write_bytes(path, raw)  # What was there counted, but nobody could say why.
    return revocation


def revocation_of(store: CheckpointStore, checkpoint: Digest) -> str | None:
    """Return why a checkpoint was revoked; None when it was not."""
    path = revocation_path(store, checkpoint)
    try:
        revocation = peek(path.read_bytes(), Revocation)
    except FileNotFoundError:
        return None
    except (OSError, SignatureError) as error:
        return f"{path.name} cannot be read ({error})"
    return revocation.reason


def verified_revocations(store: CheckpointStore, trust: TrustStore) -> dict[Digest, Revocation]:
    """Return the revocations that a releaser has signed, by checkpoint.

    The signer's key must have counted when the revocation was made, not today: a checkpoint does
    not come back because a key has expired.
    """
    found = {}
    for path in sorted((store.root / "revocations").glob("*.dsse.json")):
        try:
            raw = path.read_bytes()
            made_at = peek(raw, Revocation).created_at
            revocation = unseal(raw, Revocation, trust, "releaser", threshold=1, now=made_at)
        except (OSError, SignatureError):
            continue
        if path == revocation_path(store, revocation.checkpoint):
            found[revocation.checkpoint] = revocation
    return found


def revocation_path(store: CheckpointStore, checkpoint: Digest) -> Path:
    """Return where a checkpoint's revocation is or would be."""
    return store.root / "revocations" / f"{checkpoint.removeprefix('sha256:')}.dsse.json"
