"""What narrows a key: endpoints, hazard domains, addresses, limits of its own. Pure.

Each part takes something from what the key's owner may do; none gives anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from gateway.policy.grants import GrantTerms

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/v1/files",
    "/v1/batches",
)
"""What a key can be narrowed to, with all that is below files and batches; any lists models."""
UNLIMITED = 2**62
"""Stands for a limit that a key has not; small enough to be multiplied as a float."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """How much may be used by a key, beside what its owner and their organisation may use."""

    requests_per_minute: int = UNLIMITED
    tokens_per_minute: int = UNLIMITED
    tokens_per_day: int = UNLIMITED
    max_concurrent: int = UNLIMITED


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """How a key is narrowed; None for a part in which it is not."""

    endpoints: frozenset[str] | None = None
    """The paths that it may ask."""
    domains: frozenset[str] | None = None
    """The only domains whose grants count for it; empty for a key that never reaches base."""
    networks: tuple[Network, ...] | None = None
    """Where it may be used from."""
    limits: KeyLimits | None = None

    def usable(self, grants: tuple[GrantTerms, ...]) -> tuple[GrantTerms, ...]:
        """Return those of its owner's grants that count for it."""
        if self.domains is None:
            return grants
        return tuple(grant for grant in grants if grant.domain in self.domains)

    def may_ask(self, path: str) -> bool:
        """Whether it may ask a path."""
        return self.endpoints is None or path in self.endpoints

    def may_come_from(self, address: Address | None) -> bool:
        """Whether it may be used from an address; None for one that is not known."""
        if self.networks is None:
            return True
        return address is not None and any(address in network for network in self.networks)


NOT_NARROWED = KeyTerms()


def widened(old: Mapping[str, object], new: Mapping[str, object]) -> str | None:
    """Return a term in which a key would have more than it had; None when it only loses.

    Args:
        old: Every term as it is stored: names, networks, limits, the moment of its end; None for
            one that does not narrow the key.
        new: Those that are to be others.
    """
    return next((name for name, value in new.items() if not _is_within(value, old[name])), None)


def _is_within(new: object, old: object) -> bool:
    if old is None:
        return True
    if isinstance(old, list):
        return isinstance(new, list) and all(any(_is_part(n, o) for o in old) for n in new)
    if isinstance(old, datetime):
        return isinstance(new, datetime) and new <= old
    return isinstance(new, int) and isinstance(old, int) and new <= old


def _is_part(new: object, old: object) -> bool:
    """Whether a name is another, or a network lies in another; no name can be read as a network."""
    if new == old:
        return True
    try:
        inner, outer = ip_network(str(new)), ip_network(str(old))
    except ValueError:
        return False
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def last_end(
    grants: Iterable[GrantTerms], domains: frozenset[str] | None, now: datetime
) -> datetime | None:
    """Return when a key must end at the latest; None for one that reaches no base checkpoint.

    It is the end of the first domain that closes, whatever is suspended now: what only suspends may
    come back, and decides at each request.

    Args:
        grants: Its owner's.
        domains: Those that it is narrowed to.
        now: The moment.
    """
    ends: dict[str, datetime] = {}
    for grant in grants:
        is_over = grant.revoked_at is not None or grant.expires_at <= now
        if not is_over and (domains is None or grant.domain in domains):
            ends[grant.domain] = max(grant.expires_at, ends.get(grant.domain, grant.expires_at))
    return min(ends.values(), default=None)


def not_held(
    grants: Iterable[GrantTerms], domains: Iterable[str], now: datetime
) -> tuple[str, ...]:
    """Return those of the domains for which there is no grant that is not over, sorted."""
    held = {grant.domain for grant in grants if grant.revoked_at is None and grant.expires_at > now}
    return tuple(sorted(set(domains) - held))
