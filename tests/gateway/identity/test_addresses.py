"""Where a request comes from, and whose word for it counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.addresses import Proxies
from gateway.identity.key_records import _networks
from gateway.policy.key_terms import NOT_NARROWED, KeyTerms
from gateway.settings import Settings

INNER = ["10.0.0.0/8", "fd00::/8"]


def address(peer, *lines: str, header: str = "x-forwarded-for", trusted=INNER) -> str | None:
    proxies = Proxies(Settings(trusted_proxies=trusted, proxy_header=header))
    headers = [(header.encode(), line.encode("latin-1")) for line in lines]
    found = proxies.address({"client": peer and (peer, 1234), "headers": headers})
    return None if found is None else str(found)


FROM_A_LIST = {
    "no proxy, no header": (("203.0.113.9",), "203.0.113.9"),
    "a header from anybody is not read": (("203.0.113.9", "192.0.2.1"), "203.0.113.9"),
    "a trusted proxy's is": (("10.0.0.1", "192.0.2.1"), "192.0.2.1"),
    "what stands before the first stranger may be made up": (
        ("10.0.0.1", "10.9.9.9, 192.0.2.1"), "192.0.2.1"),
    "a chain of trusted proxies": (("10.0.0.1", "192.0.2.1, 10.0.0.3, 10.0.0.2"), "192.0.2.1"),
    "several lines are one list": (("10.0.0.1", "192.0.2.1", "10.0.0.2"), "192.0.2.1"),
    "a line of the client's before the proxy's": (("10.0.0.1", "10.1.1.1", "192.0.2.1"),
                                                  "192.0.2.1"),
    "only proxies": (("10.0.0.1", "10.0.0.3, 10.0.0.2"), "10.0.0.3"),
    "a trusted proxy that says nothing": (("10.0.0.1",), None),
    "a trusted proxy that says as good as nothing": (("10.0.0.1", " "), None),
    "nonsense": (("10.0.0.1", "192.0.2.1, garbage"), None),
    "nonsense behind a stranger is not looked at": (("10.0.0.1", "garbage, 192.0.2.1"),
                                                    "192.0.2.1"),
    "unknown": (("10.0.0.1", "unknown"), None),
    "empty parts": (("10.0.0.1", "192.0.2.1, "), None),
    "with a port": (("10.0.0.1", "192.0.2.1:4711"), "192.0.2.1"),
    "IPv6": (("fd00::1", "2001:DB8::1"), "2001:db8::1"),
    "IPv6 with a port": (("10.0.0.1", "[2001:db8::1]:4711"), "2001:db8::1"),
    "IPv4 within IPv6 is IPv4": (("::ffff:203.0.113.9",), "203.0.113.9"),
    "a trusted proxy within IPv6": (("::ffff:10.0.0.1", "::ffff:192.0.2.1"), "192.0.2.1"),
    "a zone is no address": (("fe80::1%eth0",), None),
    "an old spelling of IPv4": (("10.0.0.1", "0300.0.2.1"), None),
    "no peer at all": ((None, "192.0.2.1"), None),
    "a socket file": (("", "192.0.2.1"), None),
}  # fmt: skip


@pytest.mark.parametrize(("given", "found"), list(FROM_A_LIST.values()), ids=list(FROM_A_LIST))
def test_who_is_believed(given, found):
    assert address(*given) == found


FORWARDED = {
    "one": ("for=192.0.2.1", "192.0.2.1"),
    "with more": ("For=192.0.2.1;proto=https;by=10.0.0.9", "192.0.2.1"),
    "a list": ("for=192.0.2.1, for=10.0.0.2;proto=http", "192.0.2.1"),
    "made up first": ("for=10.1.1.1, for=192.0.2.1", "192.0.2.1"),
    "quoted IPv6": ('for="[2001:db8::1]:4711"', "2001:db8::1"),
    "a comma within quotes": ('for=192.0.2.1;host="a,for=10.0.0.5"', "192.0.2.1"),
    "an escape within quotes": (r'for="192.0.2.\1"', "192.0.2.1"),
    "unknown": ("for=unknown", None),
    "a name of its own": ("for=_hidden", None),
    "no for": ("proto=https", None),
    "an open quote": ('for="192.0.2.1', None),
    "garbage": ("192.0.2.1", None),
    "the for of another element does not count": ("for=192.0.2.1, proto=http", None),
}


@pytest.mark.parametrize(("line", "found"), list(FORWARDED.values()), ids=list(FORWARDED))
def test_the_standard_header(line, found):
    assert address("10.0.0.1", line, header="forwarded") == found


def test_only_the_header_that_is_named_is_read():
    proxies = Proxies(Settings(trusted_proxies=INNER))
    headers = [(b"forwarded", b"for=10.0.0.7"), (b"x-real-ip", b"10.0.0.7")]
    headers.append((b"x-forwarded-for", b"192.0.2.1"))
    found = proxies.address({"client": ("10.0.0.1", 1), "headers": headers})
    assert str(found) == "192.0.2.1"


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_no_header_breaks_it_or_is_believed_of_a_stranger(line):
    for header in ("forwarded", "x-forwarded-for"):
        address("10.0.0.1", line, header=header)
        assert address("203.0.113.9", line, header=header) == "203.0.113.9"


@pytest.mark.parametrize(
    ("row", "peer", "may"),
    [
        (["203.0.113.0/24"], "203.0.113.9", True),
        (["203.0.113.0/24"], "203.0.114.9", False),
        (["203.0.113.0/24"], "::ffff:203.0.113.9", True),
        (["2001:db8::/32"], "2001:db8::9", True),
        (["2001:db8::/32"], "203.0.113.9", False),
        (["203.0.113.9/32", "2001:db8::/32"], "2001:db8:1::9", True),
        (["::/0"], "203.0.113.9", False),
        (["what is this"], "203.0.113.9", False),
        ([], "203.0.113.9", False),
        (["0.0.0.0/0"], None, False),
    ],
)
def test_a_key_is_let_in_from_its_networks_alone(row, peer, may):
    proxies = Proxies(Settings())
    found = proxies.address({"client": peer and (peer, 1), "headers": []})
    assert KeyTerms(networks=_networks(row)).may_come_from(found) is may
    assert NOT_NARROWED.may_come_from(found)
