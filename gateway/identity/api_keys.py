"""API keys: `airlock_key_<id>_<secret>_<check>`, `airlock_workflow_…` and `airlock_admin_…`.

A person asks models with the first kind, and applies, reviews and approves with the second, so that
a key that leaks from a program approves nothing; the third is an administrator's.

The kind stands in front, so that scanners and people recognise a leaked key; the checksum tells a
mistyped key from a wrong one without a look-up; the secret is 256 random bits, of which only an
HMAC under the gateway's own key is stored (random bits need no slow hash).
"""

import hmac
import secrets
import zlib
from typing import Literal, NamedTuple

Kind = Literal["key", "workflow", "admin"]
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH = 12
SECRET_LENGTH = 43
CHECK_LENGTH = 6
LONGEST_KEY = 96


class ParsedKey(NamedTuple):
    """The parts of a well-formed key; whether it is anybody's is another question."""

    kind: Kind
    id: str
    secret: str


def mint(kind: Kind) -> tuple[ParsedKey, str]:
    """Return a new key in parts and as the text that its owner is shown once."""
    parsed = ParsedKey(kind, _random(ID_LENGTH), _random(SECRET_LENGTH))
    body = f"airlock_{kind}_{parsed.id}_{parsed.secret}"
    return parsed, f"{body}_{_check(body)}"


def parse(text: str) -> ParsedKey | None:
    """Return a key's parts, or None when it is not well-formed or its checksum is wrong."""
    if len(text) > LONGEST_KEY or not text.isascii():
        return None
    body, _, check = text.rpartition("_")
    parts = body.split("_")
    if len(parts) != 4 or parts[0] != "airlock" or not hmac.compare_digest(check, _check(body)):
        return None
    kind, key_id, secret = parts[1:]
    if len(key_id) != ID_LENGTH or len(secret) != SECRET_LENGTH:
        return None
    if kind == "key":
        return ParsedKey("key", key_id, secret)
    if kind == "workflow":
        return ParsedKey("workflow", key_id, secret)
    if kind == "admin":
        return ParsedKey("admin", key_id, secret)
    return None


def secret_hmac(pepper: bytes, parsed: ParsedKey) -> bytes:
    """Return what is stored of a key: HMAC-SHA-256 of its kind, id and secret."""
    message = f"{parsed.kind}_{parsed.id}_{parsed.secret}".encode()
    return hmac.digest(pepper, message, "sha256")


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _check(body: str) -> str:
    """Return the CRC-32 of a key's text in base 62."""
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECK_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
