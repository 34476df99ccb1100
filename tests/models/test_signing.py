"""Signatures: who counts, how often, and for what."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import JsonValue
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from models.documents import Document, canonical_json
from models.errors import KeyUnusableError, SignatureError
from models.signing import (
    countersign,
    make_private_key,
    payload_type,
    peek,
    read_private_key,
    seal,
    unseal,
)
from models.trust import TrustedKey, TrustStore, key_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALICE, BOB, SPARE = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))


class Note(Document):
    text: str


class Memo(Document):
    text: str


NOTE = Note(text="ü")


def trusted(key: Ed25519PrivateKey, holder: str, **changes) -> TrustedKey:
    public = key.public_key().public_bytes_raw()
    given = {
        "keyid": key_id(public),
        "public": public.hex(),
        "holder": holder,
        "roles": ("releaser",),
        "not_before": NOW - timedelta(days=1),
        "expires_at": NOW + timedelta(days=1),
    }
    return TrustedKey(**{**given, **changes})


TRUST = TrustStore(keys=(trusted(ALICE, "alice"), trusted(BOB, "bob"), trusted(SPARE, "alice")))


def opened(raw: bytes, trust=TRUST, role="releaser", threshold=2, now=NOW, kind=Note):
    return unseal(raw, kind, trust, role, threshold=threshold, now=now)


class Settings(Document):
    values: dict[str, JsonValue]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_in_any_json_is_refused(number: str):
    payload = f'{{"values":{{"x":{number}}}}}'.encode()
    raw = canonical_json(Envelope(payload, payload_type(Settings), {}).to_dict())
    with pytest.raises(SignatureError):
        peek(raw, Settings)


def test_two_holders_open_a_document():
    raw = countersign(seal(NOTE, [ALICE]), Note, BOB)
    assert opened(raw) == peek(raw, Note) == NOTE


def tampered(raw: bytes) -> bytes:
    envelope = json.loads(raw)
    payload = base64.b64decode(envelope["payload"]).replace("ü".encode(), b"x")
    return json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}).encode()


def spelled_otherwise() -> bytes:
    class Note(Document):  # The same kind and values, with a field more in the JSON.
        text: str
        other: int | None = None

    return seal(Note(text="ü"), [ALICE, BOB])


def spaced() -> bytes:
    payload = json.dumps({"text": "ü"}, ensure_ascii=False).encode()
    envelope = Envelope(payload, payload_type(Note), {})
    for key in (ALICE, BOB):
        public = key.public_key().public_bytes_raw()
        named = SSlibKey(key_id(public), "ed25519", "ed25519", {"public": public.hex()})
        envelope.sign(CryptoSigner(key, named))
    return canonical_json(envelope.to_dict())


BOTH = seal(NOTE, [ALICE, BOB])
REFUSED = {
    "one signature": {"raw": seal(NOTE, [ALICE])},
    "two keys of one holder": {"raw": seal(NOTE, [ALICE, SPARE])},
    "one holder, spelled in two ways": {
        "raw": BOTH,
        "trust": TrustStore(
            keys=(trusted(ALICE, "Ada Lovelace"), trusted(BOB, "ADA\u200b  \uff2covelace"))
        ),
    },
    "one key twice": {"raw": seal(NOTE, [ALICE, ALICE])},
    "an unknown key": {"raw": seal(NOTE, [ALICE, Ed25519PrivateKey.generate()])},
    "another role": {"raw": BOTH, "role": "evaluator"},
    "keys that have expired": {"raw": BOTH, "now": NOW + timedelta(days=1)},
    "keys that do not count yet": {"raw": BOTH, "now": NOW - timedelta(days=2)},
    "a revoked key": {
        "raw": BOTH,
        "trust": TrustStore(keys=(trusted(ALICE, "alice"), trusted(BOB, "bob", revoked_at=NOW))),
    },
    "nobody is trusted": {"raw": BOTH, "trust": TrustStore(keys=())},
    "changed after it was signed": {"raw": tampered(BOTH)},
    "another kind of document": {"raw": seal(Memo(text="ü"), [ALICE, BOB])},
    "an unknown field": {"raw": spelled_otherwise()},
    "other spelling of the same values": {"raw": spaced()},
    "no envelope": {"raw": b"[]"},
    "no JSON": {"raw": b"\xff"},
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_count(given: dict):
    with pytest.raises(SignatureError):
        opened(**given)


def test_a_key_is_named_for_its_bytes_and_listed_once():
    with pytest.raises(ValueError, match="SHA-256"):
        trusted(ALICE, "alice", keyid="0" * 64)
    with pytest.raises(ValueError, match="twice"):
        TrustStore(keys=(trusted(ALICE, "alice"), trusted(ALICE, "bob")))


def test_private_keys_are_for_their_owner_alone(tmp_path):
    path = tmp_path / "alice.pem"
    key = make_private_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_private_key(path).private_bytes_raw() == key.private_bytes_raw()
    with pytest.raises(KeyUnusableError, match="never overwritten"):
        make_private_key(path)
    path.chmod(0o644)
    with pytest.raises(KeyUnusableError, match="chmod 600"):
        read_private_key(path)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(KeyUnusableError):
        read_private_key(path)
