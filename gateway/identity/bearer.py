"""Access tokens: whom a bearer token names, by which issuer's word.

A token names a person and nothing else: what the person may do stands in the directory, whatever
the token claims (RFC 9068). What proved to be a token is known by a keyed hash for a minute, so
that a caller's next request costs no signature.
"""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from gateway.errors import InvalidKeyError
from gateway.identity.introspection import Introspection
from gateway.identity.jose import Opened, looks_signed, open_token
from gateway.identity.proof import CLOCK_SECONDS, Assurance, Proof
from gateway.identity.provider import Provider
from gateway.identity_errors import BoundTokenError, InvalidTokenError
from gateway.setting_types import IssuerSetting

KEPT_SECONDS = 60.0
ASKED_SECONDS = 5.0
"""For how long an issuer's word about an opaque token is believed, good or bad."""
MAX_KEPT = 10_000
NOT_FOR_ACCESS = ("nonce", "at_hash", "c_hash", "events")
"""Claims of ID tokens and logout tokens, which some providers give the same `typ`."""


class _Kept(NamedTuple):
    proof: Proof | type[InvalidTokenError | BoundTokenError]
    """Or why a token that an issuer was asked about is refused."""
    until: float


class Bearer:
    """Verifies access tokens."""

    def __init__(
        self, providers: Mapping[str, Provider], introspection: Introspection | None, key: bytes
    ) -> None:
        """Take the word of these.

        Args:
            providers: By issuer.
            introspection: Of the issuer whose tokens are opaque.
            key: Of the hashes by which tokens are remembered.
        """
        self._providers = providers
        self._introspection = introspection
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
            BoundTokenError: It does for its client alone.
            ProviderUnavailableError: It cannot be told.
        """
        seen = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._key).digest()
        kept = self._kept.get(seen)
        if kept is not None and now < kept.until:
            if isinstance(kept.proof, Proof):
                return kept.proof
            raise kept.proof
        if looks_signed(text):
            proof = await self._read(text, now)
            self._keep(seen, proof, min(proof.expires_at + CLOCK_SECONDS, now + KEPT_SECONDS))
            return proof
        if self._introspection is None:
            raise InvalidKeyError
        return await self._ask(self._introspection, text, seen, now)

    async def _ask(self, of: Introspection, text: str, seen: bytes, now: float) -> Proof:
        try:
            proof = await of.prove(text, now)
        except (InvalidTokenError, BoundTokenError) as error:
            self._keep(seen, type(error), now + ASKED_SECONDS)
            raise
        self._keep(seen, proof, min(proof.expires_at, now + ASKED_SECONDS))
        return proof

    def _keep(
        self, seen: bytes, proof: Proof | type[InvalidTokenError | BoundTokenError], until: float
    ) -> None:
        self._kept.pop(seen, None)
        while len(self._kept) >= MAX_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[seen] = _Kept(proof, until)

    async def _read(self, text: str, now: float) -> Proof:
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
    opened.check_unbound()
    acr = opened.claim_text("acr") if "acr" in opened.claims else None
    return Proof(
        issuer=setting.issuer,
        subject=opened.claim_text("sub"),
        expires_at=opened.check_times(now),
        assurance=Assurance(setting.issuer, acr, opened.moment("auth_time")),
    )
