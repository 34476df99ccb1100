"""Where webhooks may lead: a table of addresses, and names that lead inside."""

import ipaddress
import socket
from datetime import UTC, datetime

import anyio
import pytest

from gateway.errors import InvalidRequestError
from gateway.notices.delivery import Failed
from gateway.notices.destinations import PublicResolver, check_destination, is_public
from gateway.notices.webhooks import Caller
from gateway.settings import Settings

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LISTED = ("ops.example.org", "*.lab.example", "ci.example:8443", "127.0.0.1", "169.254.169.254")


def settings(**changes) -> Settings:
    return Settings(webhook_hosts=LISTED, **changes)


@pytest.mark.parametrize(
    "url",
    ["https://ops.example.org/x?y=1", "https://OPS.example.org.", "https://a.b.lab.example/x",
     "https://ci.example:8443", "https://ops.example.org:443"],
)  # fmt: skip
def test_a_listed_host_is_allowed(url):
    check_destination(url, settings())


@pytest.mark.parametrize(
    "url",
    ["http://ops.example.org", "https://ops.example.org:444", "https://ops.example.org.evil.example",
     "https://evil.example/ops.example.org", "https://ops.example.org@evil.example",
     "https://x:y@ops.example.org", "https://lab.example", "https://evillab.example",
     "https://ci.example", "ftp://ops.example.org", "https://ops.example.org/#x", "https://",
     "https://127.0.0.1/", "https://169.254.169.254/latest", "https://ops.example.org:99999",
     "gopher://127.0.0.1", "https://[::1]/", "https://[abc", "https://a\uff0f.ops.example.org/"],
)  # fmt: skip
def test_anything_else_is_not(url):
    with pytest.raises(InvalidRequestError):
        check_destination(url, settings())


def test_nothing_is_listed_by_default():
    with pytest.raises(InvalidRequestError):
        check_destination("https://ops.example.org", Settings())


def test_private_networks_are_allowed_only_by_a_setting_of_their_own():
    check_destination("http://127.0.0.1:80", Settings(webhook_hosts=("127.0.0.1:80",),
                                                      webhook_private=True))  # fmt: skip


@pytest.mark.parametrize(
    ("address", "expected"),
    [("8.8.8.8", True), ("2001:4860:4860::8888", True), ("10.0.0.1", False), ("127.0.0.1", False),
     ("169.254.169.254", False), ("192.168.1.1", False), ("100.64.0.1", False), ("0.0.0.0", False),
     ("224.0.0.1", False), ("::1", False), ("fe80::1", False), ("fd00::1", False),
     ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True), ("64:ff9b::7f00:1", False),
     ("2002:7f00:1::", False), ("2001:0:0:0:0:0:0:1", False), ("255.255.255.255", False)],
)  # fmt: skip
def test_which_addresses_are_public(address, expected):
    assert is_public(ipaddress.ip_address(address)) is expected


@pytest.mark.parametrize("private", [False, True])
def test_a_name_that_leads_inside_is_not_connected_to(private):
    """The address that was looked at is the one that is connected to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        host = f"localhost:{listener.getsockname()[1]}"
        listed = Settings(
            webhook_hosts=(host,), webhook_private=private, webhook_timeout_seconds=0.2
        )

        async def main() -> None:
            caller = Caller(listed)
            with pytest.raises(Failed, match="no answer"):
                await caller.send(f"https://{host}/", [], "id", b"{}", NOW)
            await caller.close()

        anyio.run(main)
        if private:
            listener.accept()[0].close()
        else:
            with pytest.raises(TimeoutError):
                listener.accept()


def test_one_private_address_spoils_a_name(monkeypatch):
    async def main() -> None:
        resolver = PublicResolver(allow_private=False)

        async def both(host, port, family):
            return [{"host": "8.8.8.8"}, {"host": "10.0.0.1"}]

        monkeypatch.setattr(resolver._resolver, "resolve", both)
        with pytest.raises(OSError, match="private"):
            await resolver.resolve("ops.example.org", 443, socket.AF_INET)

    anyio.run(main)
