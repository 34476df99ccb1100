"""Access tokens: whom a bearer token names, by which issuer's word.

A token names a person and nothing else: what the person may do stands in the directory, whatever
the token claims (RFC 9068). What proved to be a token is known by a keyed hash for a minute, so
that a caller's next request costs no signature.
"""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from gateway.errors import ExpiredTokenError, InvalidKeyError, InvalidTokenError
from gateway.identity.jose import LEEWAY_SECONDS, Opened, looks_signed, open_token
from gateway.identity.proof import Assurance, Proof
from gateway.identity.provider import Provider
from gateway.settings import IssuerSetting

KEPT_SECONDS = 60.0
MAX_KEPT = 10_000
NOT_FOR_ACCESS = ("nonce", "at_hash", "c_hash", "events")
"""Claims of ID tokens and logout tokens, which some providers give the same `typ`."""


class _Kept(NamedTuple):
    proof: Proof
    until: float


class Bearer:
    """Verifies access tokens."""

    def __init__(self, providers: Mapping[str, Provider], key: bytes) -> None:
        """Take the word of these.

        Args:
            providers: By issuer.
            key: Of the hashes by which tokens are remembered.
        """
        self._providers = providers
        self._key = key
        self._kept: dict[bytes, _Kept] = {}

    async def prove(self, text: str, now: float) -> Proof:
        """Return whom a token names.

        Args:
            text: The token.
            now: In seconds since the epoch.

        Raises:
            InvalidKeyError: It is neither a key nor a token.
            InvalidTokenError: It proves nothing.
            ExpiredTokenError: It did until lately.
            ProviderUnavailableError: It cannot be told.
        """
        seen = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._key).digest()
        kept = self._kept.get(seen)
        if kept is not None and now < kept.until:
            return kept.proof
        proof = await self._read(text, now)
        if proof.expires_at <= now - LEEWAY_SECONDS:
            raise ExpiredTokenError
        while len(self._kept) >= MAX_KEPT:
            self._kept.pop(next(iter(self._kept)))
        until = min(proof.expires_at + LEEWAY_SECONDS, now + KEPT_SECONDS)
        self._kept[seen] = _Kept(proof, until)
        return proof

    async def _read(self, text: str, now: float) -> Proof:
        if not looks_signed(text):
            raise InvalidKeyError
        opened = open_token(text)
        provider = self._providers.get(opened.claim_text("iss"))
        if provider is None:
            raise InvalidTokenError
        # Nobody's key set is asked for before the token could count.
        proof = _claimed(opened, provider.setting, now)
        opened.verify(await provider.key(opened.kid, opened.algorithm))
        return proof


def bearer_token(authorization: str | None) -> str | None:
    """Return the access token in an `Authorization` header; None for keys of our own or nothing."""
    scheme, _, text = (authorization or "").partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text or text.startswith("airlock_"):
        return None
    return text


def _claimed(opened: Opened, setting: IssuerSetting, now: float) -> Proof:
    """Return what a token says, if its issuer may say it of somebody to us."""
    types = {kind.lower() for kind in setting.token_types}
    if opened.algorithm not in setting.algorithms or opened.type not in types:
        raise InvalidTokenError
    if setting.audience is None or any(name in opened.claims for name in NOT_FOR_ACCESS):
        raise InvalidTokenError
    opened.check_audience(setting.audience)
    acr = opened.claim_text("acr") if "acr" in opened.claims else None
    return Proof(
        issuer=setting.issuer,
        subject=opened.claim_text("sub"),
        expires_at=opened.check_times(now),
        assurance=Assurance(setting.issuer, acr, opened.moment("auth_time")),
    )
