"""Bytes of any kind on the raw port: no crash, no hang, and nothing unlisted reaches an engine."""

import json
import re
import socket

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dataplane.endpoints import ENDPOINTS
from tests.gateway.dataplane.test_engine_fields import FORBIDDEN, FULL

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}]}).encode()
QUIET = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def speak(running, data: bytes, silence_seconds: float = 2, *, leave: bool = False) -> bytes:
    """Send bytes; return what comes back before the other end closes or has nothing to say.

    With `leave` our half is closed first, which to the gateway is a caller that left.
    """
    host, port = running.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=silence_seconds) as raw:
        try:
            raw.sendall(data)
            if leave:
                raw.shutdown(socket.SHUT_WR)
            while part := raw.recv(65536):
                answer += part
        except (ConnectionResetError, BrokenPipeError, TimeoutError):
            pass
    return answer


def seen(running) -> list[dict]:
    return [body for engine in running.engines.values() for body in engine.bodies]


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def request(running, *lines: str, body: bytes = BODY, path: str = CHAT) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {running.keys['public']}"]
    return "\r\n".join([*head, "Connection: close", *lines, "", ""]).encode("latin-1") + body


LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
HIDDEN = b"GET /admin/v1/people HTTP/1.1\r\nHost: x\r\n\r\n"
AMBIGUOUS = {
    "length and chunks": ((LENGTH, "Transfer-Encoding: chunked"), CHUNKED),
    "chunks and length": (("Transfer-Encoding: chunked", LENGTH), CHUNKED),
    "two lengths": ((LENGTH, "Content-Length: 0"), BODY),
    "a length with a sign": ((f"Content-Length: +{len(BODY)}",), BODY),
    "a length with a comma": (("Content-Length: 5, 5",), BODY),
    "a length in hex": (("Content-Length: 0x10",), BODY),
    "chunks that are not last": (("Transfer-Encoding: chunked, identity",), CHUNKED),
    "unknown coding": (("Transfer-Encoding: xchunked",), CHUNKED),
    "a space before the colon": ((f"Content-Length : {len(BODY)}",), BODY),
    "a folded header": ((LENGTH, "X-A: b", " Transfer-Encoding: chunked"), BODY),
    "a bare line feed": ((LENGTH + "\nTransfer-Encoding: chunked",), CHUNKED),
    "a zero byte": ((LENGTH, "X-A: \0"), BODY),
    "a chunk of a bad size": (("Transfer-Encoding: chunked",), b"zz\r\n" + BODY),
    "a chunk that overflows": (("Transfer-Encoding: chunked",), b"f" * 20 + b"\r\n" + BODY),
}


@pytest.mark.parametrize(("lines", "body"), list(AMBIGUOUS.values()), ids=list(AMBIGUOUS))
def test_framing_that_two_readers_could_read_in_two_ways(running, lines, body):
    """Either it is refused whole, or read once as it stands; what is hidden is never answered."""
    before = len(seen(running))
    answer = speak(running, request(running, *lines, body=body + HIDDEN))
    found = statuses(answer)
    assert len(found) <= 1, answer
    assert b"missing_api_key" not in answer
    assert len(seen(running)) == before or found == [200]
    assert all(status in (200, 400, 413) for status in found)
    assert httpx.get(f"{running.url}/healthz").status_code == 200


def test_pipelined_requests_are_answered_each_by_its_own_key(running):
    second = request(running).replace(running.keys["public"].encode(), b"nobody")
    first = request(running, LENGTH).replace(b"Connection: close\r\n", b"")
    second = second.replace(b"Connection: close", LENGTH.encode() + b"\r\nConnection: close")
    assert statuses(speak(running, first + second)) == [200, 401]


TARGETS = {
    "encoded": ("/v1/%63hat/completions", 200),
    "an absolute address": ("http://evil/v1/chat/completions", None),
    "a query": (f"{CHAT}?model=smollm2:base", 200),
    "an encoded query": (f"{CHAT}%3fx", 404),
    "an encoded slash": ("/v1%2fchat/completions", None),
    "dots": ("/v1/x/../chat/completions", 404),
    "encoded dots": ("/v1/%2e%2e/admin/v1/people", 404),
    "two slashes": ("//v1/chat/completions", 404),
    "a semicolon": (f"{CHAT};x=y", 404),
    "a zero": (f"{CHAT}%00", 404),
    "not UTF-8": ("/v1/%ff", 404),
    "an engine's own path": ("/v1/load_lora_adapter", 404),
    "an engine's control": ("/pause", 404),
}


@pytest.mark.parametrize(("target", "status"), list(TARGETS.values()), ids=list(TARGETS))
def test_paths_in_disguise(running, target, status):
    before = len(running.engines["base"].bodies)
    found = statuses(speak(running, request(running, LENGTH, path=target)))
    assert len(found) <= 1
    assert status is None or found == [status]
    assert len(running.engines["base"].bodies) == before


@QUIET
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 12))
def test_noise_anywhere_in_a_request(running, noise, place, cut):
    whole = request(running, LENGTH)
    place = min(place, len(whole))
    before = seen(running)
    answer = speak(running, whole[:place] + noise + whole[place + cut :], 0.3)
    assert all(status < 500 for status in statuses(answer))
    for body in seen(running)[len(before) :]:
        assert not set(body) & set(FORBIDDEN) - {"cache_salt"}


def test_the_gateway_is_well_after_all_of_it(running):
    assert httpx.get(f"{running.url}/healthz").status_code == 200
    assert running.metric("airlock_in_flight_requests") == 0
    assert running.metric("airlock_tier_violation_total") == 0
    assert running.chat("public").status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@QUIET
@given(
    path=st.sampled_from(list(ENDPOINTS)),
    extra=st.dictionaries(
        st.sampled_from([*FORBIDDEN, *{name for body in FULL.values() for name in body}]),
        JSON,
        max_size=3,
    ),
    drop=st.sampled_from([*{name for body in FULL.values() for name in body}, ""]),
)
def test_bodies_with_anything_in_any_field(running, path, extra, drop):
    """Of what reaches an engine every field is listed, and no forbidden one is among them."""
    before = len(seen(running))
    given_body = {**FULL[path], **extra}
    given_body.pop(drop, None)
    raw = json.dumps(given_body, allow_nan=True).encode("utf-8", "surrogatepass")
    answer = running.post("researcher", raw, path)
    assert answer.status_code < 500
    listed = set(ENDPOINTS[path].decoder.type.__struct_fields__)
    for body in seen(running)[before:]:
        assert set(body) <= listed | {"cache_salt", "priority"}
        assert body["model"].startswith("sha256:")
        assert body.get("store") is not True
        assert "seed" not in body
