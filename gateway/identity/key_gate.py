"""Whether a key is used from where it may be; and which refusals are worth an entry in the log.

Every refusal is counted. In the log stands the first of a minute for each key and address: whoever
tries a stolen key a thousand times a second does not fill it.
"""

import time
from collections.abc import MutableMapping
from typing import Any, NamedTuple

from gateway.identity.addresses import Proxies
from gateway.identity.key_uses import KeyUses
from gateway.metrics import Metrics
from gateway.policy.key_terms import KeyTerms
from gateway.settings import Settings

MAX_NOTED = 1000


class AddressRefusal(NamedTuple):
    """A key that was used from where it may not be."""

    address: str
    """`unknown` for one that cannot be told."""
    is_news: bool
    """Whether it is the first within a minute."""


class KeyGate:
    """Lets keys in by address, and knows when they were last used."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Trust the proxies of the settings."""
        self.address = Proxies(settings).address
        """Where an ASGI request comes from; None when it cannot be told."""
        self._metrics = metrics
        self.uses = KeyUses()
        """When keys that were let in were last used."""
        self._noted: set[tuple[str, str]] = set()
        self._minute = 0

    def refusal(
        self, key_id: str, terms: KeyTerms, scope: MutableMapping[str, Any]
    ) -> AddressRefusal | None:
        """Return why a key is refused in an ASGI request; None when it may be used."""
        if terms.networks is None:
            return None
        address = self.address(scope)
        if terms.may_come_from(address):
            return None
        self._metrics.address_refusals.inc()
        text = "unknown" if address is None else str(address)
        return AddressRefusal(text, self._is_news((key_id, text)))

    def _is_news(self, refused: tuple[str, str]) -> bool:
        minute = int(time.monotonic()) // 60
        if minute != self._minute:
            self._minute, self._noted = minute, set()
        if refused in self._noted or len(self._noted) >= MAX_NOTED:
            return False
        self._noted.add(refused)
        return True
