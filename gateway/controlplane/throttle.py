"""How many leak reports are taken: anybody may send one, so that nobody may send many."""

from ipaddress import IPv6Address

from gateway.errors import RateLimitedError
from gateway.policy.key_terms import Address

PER_ADDRESS = 30
"""A minute; GitHub sends many keys in one report."""
PER_MINUTE = 300
"""Of everybody together, for each gateway process."""
SITE = 0xFFFF_FFFF_FFFF_FFFF << 64
"""The part of an IPv6 address that names a site's network."""


class Throttle:
    """Counts reports in a minute; a network of IPv6 that one site has counts as one address."""

    def __init__(self) -> None:
        """Start with none."""
        self._minute = 0
        self._counts: dict[object, int] = {}
        self._total = 0

    def count(self, address: Address | None, now: float) -> None:
        """Count a report.

        Args:
            address: Where it comes from.
            now: On the monotonic clock.

        Raises:
            RateLimitedError: There were enough in this minute.
        """
        minute = int(now) // 60
        if minute != self._minute:
            self._minute, self._counts, self._total = minute, {}, 0
        site: object = address
        if isinstance(address, IPv6Address):
            site = int(address) & SITE
        count = self._counts.get(site, 0) + 1
        if count > PER_ADDRESS or self._total >= PER_MINUTE:
            raise RateLimitedError("leak reports per minute", PER_ADDRESS, 60 - now % 60)
        self._counts[site] = count
        self._total += 1
