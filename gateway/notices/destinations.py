"""Where webhooks may lead: listed hosts, over TLS, and never into a private network.

Who configures a webhook is not who runs the network: without these checks the gateway would ask,
from inside, whatever address it is given (server-side request forgery). The address that was
checked is the one that is connected to, so that a name that resolves differently the second time
wins nothing.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from gateway.errors import InvalidRequestError
from gateway.settings import Settings


def check_destination(url: str, settings: Settings) -> None:
    """Raise unless webhooks may go to an address, as the settings are now.

    Raises:
        InvalidRequestError: They may not.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequestError("The address is none, or has no valid port.", "url") from error
    host = (parts.hostname or "").rstrip(".").lower()
    if parts.username is not None or parts.fragment or not host:
        raise InvalidRequestError("The address has a name, a password or a fragment.", "url")
    if parts.scheme != "https" and not (settings.webhook_private and parts.scheme == "http"):
        raise InvalidRequestError("A webhook takes https.", "url")
    if not any(_matches(listed.lower(), host, port) for listed in settings.webhook_hosts):
        raise InvalidRequestError("The host is not in AIRLOCK_WEBHOOK_HOSTS.", "url")
    if not settings.webhook_private and _is_inside(host):
        raise InvalidRequestError("The address is one of a private network.", "url")


INSIDE = tuple(
    map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "fec0::/10"))
)
"""Where an IPv4 address may stand in an IPv6 one, and what was local once (RFC 4291, 8215)."""


def _matches(listed: str, host: str, port: int | None) -> bool:
    """Whether a host is a listed one; `*.` stands for one label or more, without a port for 443."""
    name, _, wanted = listed.partition(":")
    if (int(wanted) if wanted else 443) != (port or 443):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _is_inside(host: str) -> bool:
    """Whether a host is written as an address that is not one of the public network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not is_public(address)


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is of the public network, and means no other one inside it."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _nat64(address)
        if address.teredo is not None or (inner is not None and not is_public(inner)):
            return False
        if any(address in network for network in INSIDE):
            return False
    return address.is_global and not address.is_multicast


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


class PublicResolver(AbstractResolver):
    """Resolves names to addresses of the public network; one private address spoils the name."""

    def __init__(self, *, allow_private: bool) -> None:
        """Resolve as the system does, in a thread."""
        self._resolver = ThreadedResolver()
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            OSError: There is none, or one is private.
        """
        found = await self._resolver.resolve(host, port, family)
        if not self._allow_private:
            for each in found:
                if not is_public(ipaddress.ip_address(each["host"].partition("%")[0])):
                    raise OSError("the name leads into a private network")
        return found

    async def close(self) -> None:
        """Nothing is held."""
        await self._resolver.close()
