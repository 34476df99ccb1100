"""GA4GH visas, opened strictly: listed issuers, their own key sets, and what each must claim.

A visa says where its key is (`jku`); it is compared with the setting and never fetched from there.
"""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import httpx2
from joserfc.jwk import Key

from gateway.identity.jose import Opened, open_token
from gateway.identity.key_set import fits, read_key_set
from gateway.identity.proof import CLOCK_SECONDS
from gateway.identity.provider import TIMEOUT_SECONDS, read_document
from gateway.identity_errors import (
    ExpiredTokenError,
    InvalidTokenError,
    ProviderUnavailableError,
)
from gateway.metrics import Metrics
from gateway.policy.evidence import AssertedBy
from gateway.policy.visas import Visa
from gateway.setting_types import VisaIssuerSetting
from gateway.settings import Settings

TYPES = frozenset({"jwt", "vnd.ga4gh.visa+jwt"})
KEPT_SECONDS = 60.0
BY = {str(by): by for by in AssertedBy}


class Refused(NamedTuple):
    """A visa that is not taken, and why."""

    reason: str


class VisaIssuers:
    """The issuers that the settings list, and their keys."""

    def __init__(self, settings: Settings, client: httpx2.AsyncClient, metrics: Metrics) -> None:
        """Ask nobody yet."""
        self.by_issuer = {each.issuer: each for each in settings.visa_issuers}
        self._client = client
        self._metrics = metrics
        self._known: dict[str, tuple[float, Mapping[str, Key] | None]] = {}
        self._asking = asyncio.Lock()  # One question at a time, however many wait for it.

    async def read(self, texts: Sequence[str], now: datetime) -> list[Visa | Refused]:
        """Return what visas say, or why they are not taken.

        Raises:
            ProviderUnavailableError: An issuer's keys cannot be had.
        """
        return [await self._read(text, now) for text in texts]

    async def _read(self, text: str, now: datetime) -> Visa | Refused:
        try:
            opened = open_token(text, names_key_set=True)
        except InvalidTokenError:
            return Refused("it is no signed visa")
        setting = self.by_issuer.get(str(opened.claims.get("iss")))
        if setting is None:
            return Refused("its issuer is not in AIRLOCK_VISA_ISSUERS")
        if opened.key_set not in (None, setting.jwks_url):
            return Refused("it names another key set than its issuer's")
        if opened.type not in TYPES or opened.algorithm not in setting.algorithms:
            return Refused("it is of another kind, or signed in another way")
        if "aud" in opened.claims:
            return Refused("it is for somebody else: a visa has no audience")
        try:
            opened.check_times(now.timestamp())
        except ExpiredTokenError:
            return Refused("it has expired")
        except InvalidTokenError:
            return Refused("it does not say from when to when it holds")
        key = (await self._keys(setting)).get(opened.kid)
        try:
            if key is None or not fits(key, opened.algorithm):
                return Refused("its issuer has no such key")
            opened.verify(key)
            return _visa(opened, setting, now)
        except InvalidTokenError:
            return Refused("its signature or what it claims does not hold")

    async def _keys(self, setting: VisaIssuerSetting) -> Mapping[str, Key]:
        """Return an issuer's keys; a failure is kept as long as an answer is."""
        async with self._asking:
            at, keys = self._known.get(setting.issuer, (float("-inf"), None))
            if time.monotonic() - at >= KEPT_SECONDS:
                keys = await self._ask(setting)
                self._known[setting.issuer] = (time.monotonic(), keys)
        if keys is None:
            raise ProviderUnavailableError
        return keys

    async def _ask(self, setting: VisaIssuerSetting) -> Mapping[str, Key] | None:
        try:
            request = self._client.build_request("GET", setting.jwks_url)
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return read_key_set(await read_document(self._client, request))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError, ValueError):
            self._metrics.provider_faults.labels("visas", "keys").inc()
            return None


def _visa(opened: Opened, setting: VisaIssuerSetting, now: datetime) -> Visa:
    """Return what a visa claims (GA4GH Passport 1.2, Visa Object).

    Raises:
        InvalidTokenError: Something is missing, or of another form.
    """
    said = opened.claims.get("ga4gh_visa_v1")
    expires_at = opened.moment("exp")
    if not isinstance(said, dict) or expires_at is None:
        raise InvalidTokenError
    inner = Opened(opened.text, opened.algorithm, opened.type, opened.kid, said)
    asserted_at = inner.moment("asserted")
    if asserted_at is None or asserted_at > now.timestamp() + CLOCK_SECONDS:
        raise InvalidTokenError
    by = said.get("by", "unknown")
    return Visa(
        identity=(setting.issuer, opened.claim_text("sub")),
        type=inner.claim_text("type", 100),
        value=inner.claim_text("value", 2000),
        source=inner.claim_text("source"),
        # A word that is not known is nobody's.
        by=BY.get(by, AssertedBy.UNKNOWN) if isinstance(by, str) else AssertedBy.UNKNOWN,
        asserted_at=datetime.fromtimestamp(min(asserted_at, now.timestamp()), UTC),
        expires_at=datetime.fromtimestamp(expires_at, UTC),
        digest="sha256:" + hashlib.sha256(opened.text.encode()).hexdigest(),
        conditions=said.get("conditions"),
    )
