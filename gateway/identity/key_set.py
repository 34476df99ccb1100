"""The public keys in an issuer's JWK set that can verify a token; the others do not count."""

import base64
from collections import Counter
from collections.abc import Mapping

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

MAX_KEYS = 50
MIN_RSA_BITS = 2048
FITS = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""The type and curve that an algorithm's key has; no symmetric one is among them."""
READ = frozenset({"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"})
TYPES: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


def read_key_set(document: Mapping[str, object]) -> dict[str, Key]:
    """Return the keys of a JWK set by their ids.

    Left out is what is not for signatures, not public, too small, not named, or named twice: a
    token says only the name.

    Raises:
        ValueError: It is no JWK set, or too large a one.
    """
    entries = document.get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError("not a JWK set")
    ids = (entry.get("kid") for entry in entries if isinstance(entry, dict))
    names = Counter(kid for kid in ids if isinstance(kid, str))
    found = {}
    for entry in entries:
        key = _read_key(entry) if isinstance(entry, dict) else None
        if key is not None and key.kid is not None and names[key.kid] == 1:
            found[key.kid] = key
    return found


def fits(key: Key, algorithm: str) -> bool:
    """Whether a key is one of an algorithm, and not meant for another one."""
    if algorithm not in FITS or key.alg not in (None, algorithm):
        return False
    return (key.key_type, key.get("crv")) == FITS[algorithm]


def _read_key(entry: dict[str, object]) -> Key | None:
    known: dict[str, str | list[str]] = {
        name: value for name, value in entry.items() if name in READ and isinstance(value, str)
    }
    # Asked before the import, which knows other curves, and trips over those it does not know.
    if (known.get("kty"), known.get("crv")) not in FITS.values():
        return None
    for_signatures = entry.get("use", "sig") == "sig"
    if not for_signatures or not 0 < len(known.get("kid", "")) <= 255 or "d" in entry:
        return None
    kind = TYPES[str(known["kty"])]
    try:
        # Asked before the import, which only warns of a small key.
        if kind is RSAKey and _bits(str(known.get("n", ""))) < MIN_RSA_BITS:
            return None
        return kind.import_key(known)
    except (JoseError, LookupError, ValueError, TypeError):
        return None


def _bits(number: str) -> int:
    padded = number + "=" * (-len(number) % 4)
    return int.from_bytes(base64.urlsafe_b64decode(padded)).bit_length()
