"""Opaque access tokens: the issuer is asked what they are (RFC 7662).

What it said is believed for a few seconds, good or bad, and it is asked once for all who wait with
the same token. An issuer that does not answer lets nobody in, and calls nobody a liar.
"""

import asyncio
from urllib.parse import quote_plus

import httpx2

from gateway.identity.jose import MAX_TOKEN_BYTES, Opened
from gateway.identity.proof import Assurance, Proof
from gateway.identity.provider import TIMEOUT_SECONDS, Provider, read_document
from gateway.identity_errors import ExpiredTokenError, InvalidTokenError, ProviderUnavailableError

MAX_WAITING = 100
"""So that nobody who makes tokens up has the issuer flooded with questions."""


class Introspection:
    """Asks one issuer about its opaque tokens."""

    def __init__(self, provider: Provider, client: httpx2.AsyncClient) -> None:
        """Ask `provider` through `client`."""
        self._provider = provider
        self._client = client
        self._asking: dict[str, asyncio.Task[Proof]] = {}

    async def prove(self, text: str, now: float) -> Proof:
        """Return whom a token names.

        Raises:
            InvalidTokenError: It is not active, or not meant for us.
            ExpiredTokenError: It has expired.
            BoundTokenError: Its client alone may use it.
            ProviderUnavailableError: The issuer does not say.
        """
        if len(text) > MAX_TOKEN_BYTES or not (text.isascii() and text.isprintable()):
            raise InvalidTokenError
        asking = self._asking.get(text)
        if asking is None:
            if len(self._asking) >= MAX_WAITING:
                raise ProviderUnavailableError
            asking = asyncio.create_task(self._ask(text, now))
            self._asking[text] = asking
            asking.add_done_callback(lambda _: self._asking.pop(text, None))
        # Who waits may leave; the question is asked for everybody.
        return await asyncio.shield(asking)

    async def _ask(self, text: str, now: float) -> Proof:
        setting = self._provider.setting
        address = (await self._provider.known()).endpoint("introspection_endpoint")
        request = self._client.build_request(
            "POST",
            address,
            data={"token": text, "token_type_hint": "access_token"},
            headers={"accept": "application/json"},
        )
        # Both are form-encoded before they are joined (RFC 6749, 2.3.1).
        words = (setting.client_id or "", self._provider.client_secret or "")
        auth = httpx2.BasicAuth(*map(quote_plus, words))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                document = await read_document(self._client, request, auth=auth)
        except (httpx2.HTTPError, OSError, TimeoutError, ValueError) as error:
            self._provider.count_fault("introspection")
            raise ProviderUnavailableError from error
        return _vouched(document, self._provider, now)


def _vouched(document: dict[str, object], provider: Provider, now: float) -> Proof:
    """Return what an issuer's answer says; what it leaves out is not assumed."""
    setting = provider.setting
    if document.get("active") is not True or setting.audience is None:
        raise InvalidTokenError
    answer = Opened("", "", "", "", document)
    if document.get("iss", setting.issuer) != setting.issuer:
        raise InvalidTokenError
    if str(document.get("token_type", "Bearer")).lower() != "bearer":
        raise InvalidTokenError
    answer.check_audience(setting.audience)
    answer.check_unbound()
    expires_at, not_before = answer.moment("exp"), answer.moment("nbf")
    if expires_at is None or (not_before or 0.0) > now:
        raise InvalidTokenError
    if expires_at <= now:
        raise ExpiredTokenError
    acr = answer.claim_text("acr") if "acr" in document else None
    return Proof(
        issuer=setting.issuer,
        subject=answer.claim_text("sub"),
        expires_at=expires_at,
        assurance=Assurance(setting.issuer, acr, answer.moment("auth_time")),
    )
