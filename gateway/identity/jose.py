"""Signed tokens (JWT), opened strictly: what is odd is refused before anything is looked up.

It owns the form of a token, and what every token must claim; whose keys verify it is told, and
whose word it is, is its caller's to decide (RFC 7515, 7519, 8725).
"""

import base64
import json
import re
from dataclasses import dataclass
from typing import NoReturn

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key

from gateway.identity.proof import CLOCK_SECONDS
from gateway.identity_errors import BoundTokenError, ExpiredTokenError, InvalidTokenError

MAX_TOKEN_BYTES = 8192
MAX_HEADER_BYTES = 512
LATEST = 253_370_764_800
"""The year 9999: what is later is no moment for a calendar."""
FORM = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
HEADERS = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
"""What a header may hold. The others bring keys along (`jwk`, `jku`, `x5c`, `x5u`), nest or
compress tokens (`cty`, `zip`), or ask for an understanding that is not there (`crit`, `b64`)."""


@dataclass(frozen=True)
class Opened:
    """A token whose form is right and whose signature is not verified yet."""

    text: str
    algorithm: str
    type: str
    kid: str
    claims: dict[str, object]
    key_set: str | None = None
    """Where the token says that its key is, for who expects that and knows better (`jku`)."""

    def claim_text(self, name: str, longest: int = 255) -> str:
        """Return a claim that must be a text, printable and not empty.

        Raises:
            InvalidTokenError: It is not.
        """
        value = self.claims.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
            raise InvalidTokenError
        return value

    def moment(self, name: str) -> float | None:
        """Return a claim that is a moment, in seconds since the epoch; None when it is missing.

        Raises:
            InvalidTokenError: It is something else.
        """
        value = self.claims.get(name)
        if value is None and name not in self.claims:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidTokenError
        # No number at all is not in between, and an integer may be too long for a float.
        if not 0 <= value <= LATEST:
            raise InvalidTokenError
        return float(value)

    def check_audience(self, audience: str) -> None:
        """Raise unless the token is meant for `audience`, among others or alone.

        Raises:
            InvalidTokenError: It is not.
        """
        given = self.claims.get("aud")
        named = given if isinstance(given, list) else [given]
        if not all(isinstance(one, str) for one in named) or audience not in named:
            raise InvalidTokenError

    def check_unbound(self) -> None:
        """Raise when the token is bound to its client's key (RFC 7800): no bearer may use it.

        Raises:
            BoundTokenError: It is; no proof of a key is taken here (RFC 8705, 9449).
        """
        if "cnf" in self.claims:
            raise BoundTokenError

    def check_times(self, now: float) -> float:
        """Return when the token expires, if it counts now.

        Raises:
            ExpiredTokenError: It did.
            InvalidTokenError: It does not yet, or does not say.
        """
        expires_at, issued_at = self.moment("exp"), self.moment("iat")
        not_before = self.moment("nbf")
        if expires_at is None or issued_at is None:
            raise InvalidTokenError
        if max(issued_at, not_before or 0.0) > now + CLOCK_SECONDS:
            raise InvalidTokenError
        if expires_at <= now - CLOCK_SECONDS:
            raise ExpiredTokenError
        return expires_at

    def verify(self, key: Key) -> None:
        """Raise unless the signature is the key's.

        Raises:
            InvalidTokenError: It is not.
        """
        try:
            jws.deserialize_compact(self.text, key, algorithms=[self.algorithm])
        except (JoseError, ValueError) as error:
            raise InvalidTokenError from error


def open_token(text: str, *, names_key_set: bool = False) -> Opened:
    """Return a token in parts.

    Args:
        text: The token.
        names_key_set: Whether it may say where its key is. Nothing is fetched from there.

    Raises:
        InvalidTokenError: Its form is not right.
    """
    match = FORM.fullmatch(text) if len(text) <= MAX_TOKEN_BYTES else None
    if match is None:
        raise InvalidTokenError
    header = _object(match[1], MAX_HEADER_BYTES)
    # ID tokens need no `typ`; access tokens are refused without by what takes them.
    words = [header.get("alg"), header.get("typ", "JWT"), header.get("kid")]
    key_set = header.pop("jku", None) if names_key_set else None
    if not isinstance(key_set, str | None):
        raise InvalidTokenError
    if not header.keys() <= HEADERS or not all(isinstance(word, str) and word for word in words):
        raise InvalidTokenError
    algorithm, kind, kid = map(str, words)
    kind = kind.lower().removeprefix("application/")
    claims = _object(match[2], MAX_TOKEN_BYTES)
    return Opened(text, algorithm, kind, kid, claims, key_set)


def looks_signed(text: str) -> bool:
    """Whether a token is of the form of a JWT; others are opaque."""
    return text.count(".") == 2


def _decode(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError as error:
        raise InvalidTokenError from error


def _object(part: str, longest: int) -> dict[str, object]:
    raw = _decode(part)
    if len(raw) > longest:
        raise InvalidTokenError
    try:
        value = json.loads(raw, object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidTokenError from error
    if not isinstance(value, dict):
        raise InvalidTokenError
    return value


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidTokenError
    return found


def _refuse(_: str) -> NoReturn:
    raise InvalidTokenError
