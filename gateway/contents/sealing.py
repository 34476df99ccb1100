"""How a prompt or an answer is sealed, so that no gateway can read what any gateway has kept.

    part      AES-256-GCM under a key of its own          bound to request, audit entry, grants' key
    its key   HPKE to the public key of the grants        bound to the same
    grants' private key   HPKE to the holder's public key, which is all that a gateway has of it

HPKE is RFC 9180 in base mode: X25519, HKDF-SHA-256, AES-256-GCM. Who can write to the database
could seal a prompt that nobody sent, since public keys are no secret; so the audit log holds a
commitment under the part's own key, and what does not fit it is refused.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import rfc8785
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from gateway.errors import AuditFileError

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
KEY_PURPOSE = b"airlock contents key/1\x00"
PART_PURPOSE = b"airlock contents part/1\x00"
COMMITMENT_PURPOSE = b"airlock contents commitment/1\x00"
NONCE_BYTES = 12

PartName = Literal["request", "answer"]


@dataclass(frozen=True)
class GrantsKey:
    """The key under which contents are kept that rest on the same grants, for a while."""

    id: str
    grants: tuple[str, ...]
    """Ids, sorted."""
    public: X25519PublicKey
    sealed_private: bytes


class Place(NamedTuple):
    """What a part is bound to."""

    request_id: str
    part: PartName
    key_id: str
    entry: str
    """The commitment to the request in the intent's entry."""

    @property
    def header(self) -> bytes:
        """The same, in its one spelling."""
        return rfc8785.dumps(
            {
                "entry": self.entry,
                "key": self.key_id,
                "part": self.part,
                "request": self.request_id,
                "v": 1,
            }
        )


class SealedPart(NamedTuple):
    """A part as it is kept."""

    nonce: bytes
    ciphertext: bytes
    sealed_key: bytes


def make_grants_key(key_id: str, grants: Sequence[str], holder: X25519PublicKey) -> GrantsKey:
    """Make a key for contents; its private half is sealed to the holder and then forgotten."""
    private = X25519PrivateKey.generate()
    named = tuple(sorted(grants))
    sealed = SUITE.encrypt(private.private_bytes_raw(), holder, info=_key_info(key_id, named))
    return GrantsKey(key_id, named, private.public_key(), sealed)


def open_grants_key(
    key_id: str, grants: Sequence[str], sealed_private: bytes, holder: X25519PrivateKey
) -> X25519PrivateKey:
    """Return the private half of a grants' key, on the holder's machine.

    Raises:
        AuditFileError: It was sealed for another holder, or is of other grants, or was changed.
    """
    info = _key_info(key_id, tuple(sorted(grants)))
    try:
        return X25519PrivateKey.from_private_bytes(SUITE.decrypt(sealed_private, holder, info=info))
    except (InvalidTag, ValueError) as error:
        raise AuditFileError("the grants' key does not open with this private key") from error


def new_part_key() -> bytes:
    """Return a key for one part."""
    return os.urandom(32)


def commit(part_key: bytes, request_id: str, part: PartName, content: bytes) -> str:
    """Return the commitment to a part that goes into the audit log."""
    place = f"{request_id}\x00{part}\x00".encode()
    return hmac.new(part_key, COMMITMENT_PURPOSE + place + content, hashlib.sha256).hexdigest()


def seal(part_key: bytes, place: Place, content: bytes, public: X25519PublicKey) -> SealedPart:
    """Seal a part."""
    nonce, header = os.urandom(NONCE_BYTES), place.header
    ciphertext = AESGCM(part_key).encrypt(nonce, content, header)
    return SealedPart(nonce, ciphertext, SUITE.encrypt(part_key, public, PART_PURPOSE + header))


def unseal(sealed: SealedPart, place: Place, private: X25519PrivateKey, committed: str) -> bytes:
    """Return a part's content.

    Args:
        sealed: The part.
        place: What it has to be bound to.
        private: The grants' key.
        committed: What the audit log says of it.

    Raises:
        AuditFileError: It was changed, or is another part, or is not what the log committed to.
    """
    header = place.header
    try:
        part_key = SUITE.decrypt(sealed.sealed_key, private, PART_PURPOSE + header)
        content = AESGCM(part_key).decrypt(sealed.nonce, sealed.ciphertext, header)
    except (InvalidTag, ValueError) as error:
        raise AuditFileError(f"the {place.part} was changed, or is of another request") from error
    if not hmac.compare_digest(commit(part_key, place.request_id, place.part, content), committed):
        raise AuditFileError(f"the {place.part} is not what the audit log has committed to")
    return content


def to_text(raw: bytes) -> str:
    """Return bytes as files and JSON hold them."""
    return base64.b64encode(raw).decode()


def _key_info(key_id: str, grants: tuple[str, ...]) -> bytes:
    return KEY_PURPOSE + rfc8785.dumps({"grants": list(grants), "id": key_id})
