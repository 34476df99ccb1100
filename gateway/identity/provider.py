"""One identity provider: its endpoints and public keys, found by discovery and kept for a while.

    known < 10 min        used as it is
    10 min – 1 h          used, while it is asked again in the background
    older, or never       everybody waits for the provider; no answer: nobody is let in

However many wait, one question is asked at a time. A key id that is not known makes it ask again,
but not twice within the cool-down: until then it is unknown whether the key is good, which is no
reason to say that it is bad.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
from joserfc.jwk import Key

from gateway.errors import ConfigurationError
from gateway.identity.key_set import fits, read_key_set
from gateway.identity_errors import InvalidTokenError, ProviderUnavailableError
from gateway.metrics import Metrics
from gateway.setting_types import IssuerSetting

REFRESH_SECONDS = 600.0
GIVE_UP_SECONDS = 3600.0
COOL_DOWN_SECONDS = 10.0
TIMEOUT_SECONDS = 5.0
MAX_DOCUMENT_BYTES = 262_144
MAX_ABSENT = 1000
Clock = Callable[[], float]


@dataclass(frozen=True)
class Known:
    """What a provider said of itself, and when."""

    document: Mapping[str, object]
    keys: Mapping[str, Key]
    at: float

    def endpoint(self, name: str) -> str:
        """Return the address of an endpoint.

        Raises:
            ProviderUnavailableError: It has none, or one that is not as well protected on its way
                as the issuer's own: tokens and secrets go there.
        """
        try:
            return _checked(self.document.get(name), str(self.document["issuer"]))
        except ValueError as error:
            raise ProviderUnavailableError from error


class Provider:
    """Knows an issuer's endpoints and keys."""

    def __init__(
        self,
        setting: IssuerSetting,
        client: httpx2.AsyncClient,
        tls: ssl.SSLContext,
        metrics: Metrics,
        clock: Clock = time.monotonic,
    ) -> None:
        """Know nothing yet; the issuer is asked when it is needed.

        Args:
            setting: Which issuer.
            client: By which it is asked.
            tls: For other clients; to make one takes tens of milliseconds of everybody's time.
            metrics: Count what it does not answer.
            clock: In seconds, of any beginning.

        Raises:
            ConfigurationError: The client secret's file cannot be read.
        """
        self.setting = setting
        self.client_secret = _read_secret(setting)
        self.client = client
        self.tls = tls
        self._metrics = metrics
        self._clock = clock
        self._known: Known | None = None
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[bool] | None = None
        self._absent: set[str] = set()

    async def known(self) -> Known:
        """Return what is known of the issuer.

        Raises:
            ProviderUnavailableError: Nothing, or too long ago.
        """
        if self._known is None or self._age(self._known) >= GIVE_UP_SECONDS:
            if self._is_cooling():
                raise ProviderUnavailableError
            await self._answered()
        elif self._age(self._known) >= REFRESH_SECONDS and not self._is_cooling():
            self._ask()
        if self._known is None or self._age(self._known) >= GIVE_UP_SECONDS:
            raise ProviderUnavailableError
        return self._known

    async def key(self, kid: str, algorithm: str) -> Key:
        """Return the key of an id.

        Raises:
            InvalidTokenError: The issuer has no such key for the algorithm.
            ProviderUnavailableError: It cannot be told.
        """
        called_at = self._clock()
        known = await self.known()
        if kid not in known.keys and known.at < called_at:
            if self._is_cooling() and kid in self._absent:
                raise InvalidTokenError
            if self._is_cooling() or not await self._answered():
                raise ProviderUnavailableError
            known = await self.known()
        if kid not in known.keys and len(self._absent) < MAX_ABSENT:
            self._absent.add(kid)
        key = known.keys.get(kid)
        if key is None or not fits(key, algorithm):
            raise InvalidTokenError
        return key

    def count_fault(self, question: str) -> None:
        """Count a question that the issuer did not answer properly."""
        self._metrics.provider_faults.labels(self.setting.name, question).inc()

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()

    def _age(self, known: Known) -> float:
        return self._clock() - known.at

    def _is_cooling(self) -> bool:
        """Whether it was asked a moment ago, and is not being asked now."""
        is_asking = self._asking is not None and not self._asking.done()
        return not is_asking and self._clock() - self._asked_at < COOL_DOWN_SECONDS

    def _ask(self) -> asyncio.Task[bool]:
        if self._asking is None or self._asking.done():
            self._asked_at = self._clock()
            self._asking = asyncio.create_task(self._take_over())
        return self._asking

    async def _answered(self) -> bool:
        # Who waits may leave; the question is asked for everybody.
        return await asyncio.shield(self._ask())

    async def _take_over(self) -> bool:
        """Ask the issuer, and say whether it answered; what was known before stays otherwise."""
        asked_at = self._clock()
        issuer = self.setting.issuer
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
                document = await self._get(address)
                if document.get("issuer") != issuer:
                    raise ValueError("the document is another issuer's")
                keys = read_key_set(await self._get(_checked(document.get("jwks_uri"), issuer)))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError, ValueError):
            self.count_fault("keys")
            return False
        before = set() if self._known is None else set(self._known.keys)
        self._known = Known(document, keys, asked_at)
        self._absent = before - set(keys)
        return True

    async def _get(self, address: str) -> dict[str, object]:
        return await read_document(self.client, self.client.build_request("GET", address))


def _read_secret(setting: IssuerSetting) -> str | None:
    if setting.client_secret_file is None:
        return None
    try:
        return setting.client_secret_file.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"the client secret of '{setting.name}': {error}") from error


def _checked(address: object, issuer: str) -> str:
    """Return an address that is no less protected on its way than the issuer's own."""
    if not isinstance(address, str) or urlsplit(address).scheme not in {
        "https",
        urlsplit(issuer).scheme,
    }:
        raise ValueError("an address is missing or unprotected")
    try:
        return str(httpx2.URL(address))
    except httpx2.InvalidURL as error:
        raise ValueError("an address is none") from error


async def read_document(
    client: httpx2.AsyncClient, request: httpx2.Request, auth: httpx2.Auth | None = None
) -> dict[str, object]:
    """Return the JSON object that answers a request.

    Raises:
        ValueError: It is something else, too long, or no success.
        httpx2.HTTPError: There is no answer.
    """
    answer = await client.send(request, stream=True, auth=auth)
    try:
        if answer.status_code != 200:
            raise ValueError(f"status {answer.status_code}")
        body = await _read_body(answer)
    finally:
        await answer.aclose()
    try:
        value = json.loads(body)
    except RecursionError as error:
        raise ValueError("the answer is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("the answer is no object")
    return value


class BoundedTransport(httpx2.AsyncHTTPTransport):
    """Reads answers for a client that would take in whatever comes; their headers are dropped."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the whole answer.

        Raises:
            ValueError: It is too long.
            httpx2.HTTPError: There is none.
        """
        answer = await super().handle_async_request(request)
        try:
            return httpx2.Response(answer.status_code, content=await _read_body(answer))
        finally:
            await answer.aclose()


async def _read_body(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > MAX_DOCUMENT_BYTES:
            raise ValueError("the answer is too long")
    return bytes(body)
