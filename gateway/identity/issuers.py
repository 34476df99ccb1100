"""The identity providers and visa issuers that the settings name, and the client that asks them."""

import httpx2

from gateway.errors import NotFoundError
from gateway.identity.bearer import Bearer
from gateway.identity.code_uses import CodeUses
from gateway.identity.introspection import Introspection
from gateway.identity.provider import TIMEOUT_SECONDS, Provider
from gateway.identity.visas import VisaIssuers
from gateway.metrics import Metrics
from gateway.settings import Settings


class Issuers:
    """Every provider, by its identifier and by its name here."""

    def __init__(self, settings: Settings, key: bytes, metrics: Metrics) -> None:
        """Ask nobody yet; `key` is that of the hashes by which tokens are remembered."""
        # An issuer's address comes from configuration: never through a proxy of the environment,
        # and never on to where it redirects.
        tls = httpx2.create_ssl_context(trust_env=False)
        self._client = httpx2.AsyncClient(
            verify=tls, trust_env=False, follow_redirects=False, timeout=TIMEOUT_SECONDS
        )
        self.by_issuer = {
            one.issuer: Provider(one, self._client, tls, metrics) for one in settings.issuers
        }
        self.code_uses = CodeUses()
        self.visas = VisaIssuers(settings, self._client, metrics)
        asked = [one for one in self.by_issuer.values() if one.setting.introspection]
        introspection = Introspection(asked[0], self._client) if asked else None
        self.bearer = Bearer(self.by_issuer, introspection, key)

    def named(self, name: str) -> Provider:
        """Return a provider.

        Raises:
            NotFoundError: There is none of that name.
        """
        for provider in self.by_issuer.values():
            if provider.setting.name == name:
                return provider
        raise NotFoundError(f"There is no identity provider '{name[:40]}'.")

    async def close(self) -> None:
        """Close every connection."""
        for provider in self.by_issuer.values():
            await provider.close()
        await self._client.aclose()
