"""Where a request comes from: the peer's address, or what a trusted proxy says of it.

A proxy's header is read only from a peer that the settings name, only by the one header that they
name (a proxy that sets one passes the other on as the client wrote it), and from its end: what
stands before the first address that is no trusted proxy's may be made up. What cannot be
understood is no address at all, and a key that is bound to addresses is refused.
"""

import ipaddress
import re
from collections.abc import MutableMapping
from typing import Any

from gateway.policy.key_terms import Address, Network
from gateway.settings import Settings

IPV6_PORT = re.compile(r"\[([^\]]+)\](?::[0-9]+)?")
IPV4_PORT = re.compile(r"([0-9.]+):[0-9]+")
# One parameter of a forwarded element (RFC 7239): a token, or a quoted string.
PAIR = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]+)\s*(;|,|$)')


class Proxies:
    """Knows which proxies are trusted, and by which header."""

    def __init__(self, settings: Settings) -> None:
        """Trust the proxies that the settings name; without any, nobody's header is read."""
        self._trusted: tuple[Network, ...] = settings.trusted_proxies
        self._header = settings.proxy_header.encode()

    def address(self, scope: MutableMapping[str, Any]) -> Address | None:
        """Return where an ASGI request comes from; None when it cannot be told."""
        client = scope.get("client")
        found = parse_address(client[0]) if client else None
        if found is None or not self._is_trusted(found):
            return found
        lines = [value for name, value in scope["headers"] if name == self._header]
        found = None  # Whoever is behind a proxy that says nothing is not the proxy.
        for text in reversed(self._hops(b",".join(lines).decode("latin-1"))):
            found = parse_address(text)
            if found is None or not self._is_trusted(found):
                return found
        return found

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _hops(self, line: str) -> list[str]:
        """Return what a header names, from the client to the last proxy but one."""
        if not line.strip():
            return []
        if self._header == b"forwarded":
            return _forwarded(line)
        return [part.strip() for part in line.split(",")]


def parse_address(text: str) -> Address | None:
    """Return an address, without a port; one of IPv4 within IPv6 is the former."""
    match = IPV6_PORT.fullmatch(text) or IPV4_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(match[1] if match else text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def _forwarded(line: str) -> list[str]:
    """Return the `for` of each element; one that says none, or is not well-formed, is empty."""
    hops, named, at = [], "", 0
    while at < len(line):
        pair = PAIR.match(line, at)
        if pair is None:
            return [""]
        name, value, end = pair.groups()
        if name.lower() == "for":
            named = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        at = pair.end()
        if end != ";":
            hops.append(named)
            named = ""
    return hops
