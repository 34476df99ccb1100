"""Signed documents: DSSE envelopes around canonical JSON, signed with Ed25519.

The envelope's payload type names the kind of document, so that a signature on a plan can never be
passed off as one on a report. Format: https://github.com/secure-systems-lab/dsse (v1.0).
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from models.documents import AnyDocument, Document, canonical_json, write_bytes
from models.errors import KeyUnusableError, SignatureError
from models.names import name_key
from models.trust import Role, TrustStore, key_id


def make_private_key(path: Path) -> Ed25519PrivateKey:
    """Write a new private key, which only its owner can read, and return it.

    Raises:
        KeyUnusableError: The file exists already.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        write_bytes(path, pem, mode=0o600, replace=False)
    except FileExistsError as error:
        raise KeyUnusableError(path, "exists already; keys are never overwritten") from error
    return key


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file.

    Raises:
        KeyUnusableError: It cannot be read, is no Ed25519 key, or others may read it.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise KeyUnusableError(path, f"others may read it; run `chmod 600 {path}`")
        content = path.read_bytes()
    except OSError as error:
        raise KeyUnusableError(path, str(error)) from error
    return _private_key(path, content)


def read_machine_key(path: Path) -> Ed25519PrivateKey:
    """Return a machine's private key: PEM, or 32 random bytes in hexadecimal.

    Its mode is not looked at: secrets are mounted into containers readable, and it is the mount
    that keeps others out.

    Raises:
        KeyUnusableError: It cannot be read or is no key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KeyUnusableError(path, str(error)) from error
    if len(content.strip()) == 64:
        try:
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content.decode().strip()))
        except ValueError as error:
            raise KeyUnusableError(path, "is no key in hexadecimal") from error
    return _private_key(path, content)


def _private_key(path: Path, pem: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusableError(path, str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusableError(path, "is no Ed25519 key")
    return key


def seal(document: Document, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """Return the envelope of a document, signed with every key."""
    payload = canonical_json(document.model_dump(mode="json"))
    envelope = Envelope(payload, payload_type(type(document)), {})
    return _signed(envelope, keys)


def countersign(raw: bytes, kind: type[Document], key: Ed25519PrivateKey) -> bytes:
    """Return an envelope with one more signature; who signs should have read it.

    Raises:
        SignatureError: It is no envelope of that kind.
    """
    return _signed(_parse(raw, kind), [key])


def unseal(
    raw: bytes,
    kind: type[AnyDocument],
    trust: TrustStore,
    role: Role,
    *,
    threshold: int,
    now: datetime,
) -> AnyDocument:
    """Return a document that enough distinct holders have signed.

    Args:
        raw: The envelope.
        kind: What it must hold.
        trust: Whose signatures count.
        role: What the signers must be trusted for.
        threshold: How many distinct holders must have signed.
        now: Keys that are expired, revoked or not yet valid at this moment do not count.

    Raises:
        SignatureError: It is malformed, of another kind, or too few trusted holders signed it.
    """
    envelope = _parse(raw, kind)
    keys = [
        SSlibKey(key.keyid, "ed25519", "ed25519", {"public": key.public})
        for key in trust.usable(role, now)
    ]
    # Each key is asked by itself: the library stops at the threshold, and counts keys, not holders.
    holders = set()
    for key in keys:
        try:
            envelope.verify([key], 1)
        except VerificationError:
            continue
        holders.add(name_key(trust.holder(key.keyid)))
    if len(holders) < threshold:
        raise SignatureError(
            f"{len(holders)} of the {threshold} needed signatures are by a trusted {role}"
        )
    return _document(envelope.payload, kind)


def peek(raw: bytes, kind: type[AnyDocument]) -> AnyDocument:
    """Return an envelope's document without asking who signed it, to show it to somebody.

    Raises:
        SignatureError: It is malformed or of another kind.
    """
    return _document(_parse(raw, kind).payload, kind)


def signers(raw: bytes) -> tuple[str, ...]:
    """Return the key ids in an envelope, to show them; whether they count is not asked.

    Raises:
        SignatureError: It is malformed.
    """
    try:
        return tuple(str(signature["keyid"]) for signature in json.loads(raw)["signatures"])
    except (ValueError, KeyError, TypeError) as error:
        raise SignatureError(f"this is no signed document: {error}") from error


def payload_type(kind: type[Document]) -> str:
    """Return the media type that names a kind of document in its envelope."""
    return f"application/vnd.airlock.{kind.__name__.lower()}+json"


def _signed(envelope: Envelope, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    for key in keys:
        public = key.public_key().public_bytes_raw()
        sslib = SSlibKey(key_id(public), "ed25519", "ed25519", {"public": public.hex()})
        envelope.sign(CryptoSigner(key, sslib))
    return canonical_json(envelope.to_dict())


def _parse(raw: bytes, kind: type[Document]) -> Envelope:
    try:
        envelope = Envelope.from_dict(json.loads(raw))
    except Exception as error:
        # The library lets whatever a malformed envelope provokes pass through.
        raise SignatureError(f"this is no signed document: {error}") from error
    if envelope.payload_type != payload_type(kind):
        raise SignatureError(f"this is a {envelope.payload_type}, not a {payload_type(kind)}")
    return envelope


def _document(payload: bytes, kind: type[AnyDocument]) -> AnyDocument:
    try:
        document = kind.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise SignatureError(f"the signed document's {where}: {first['msg']}") from error
    # One document has one digest: a second spelling of the same values is refused.
    try:
        is_canonical = canonical_json(document.model_dump(mode="json")) == payload
    except ValueError as error:  # NaN or infinity, where a document takes any JSON.
        raise SignatureError(f"the signed document is no JSON: {error}") from error
    if not is_canonical:
        raise SignatureError("the signed document is not canonical JSON")
    return document
