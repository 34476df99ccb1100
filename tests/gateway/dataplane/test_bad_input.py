"""Bad input of every kind: a clear error in the API's shape, and nothing reaches an engine."""

import asyncio
import json
import socket
from types import SimpleNamespace

import httpx
import pytest

from gateway.dataplane.http import read_body
from gateway.errors import RequestTooLargeError
from gateway.exchange import EXCHANGE
from tests.gateway.dataplane.test_doors import PATHS, body
from tests.servers import wait_for

CHAT = PATHS[0]


def error_of(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return answer.status_code, error["code"], error["param"]


def sent(running) -> int:
    return sum(len(engine.bodies) for engine in running.engines.values())


CASES = {
    "no JSON": (b"{", (400, "invalid_json", None)),
    "not UTF-8": (b'{"model": "\xff\xfe"}', (400, "invalid_json", None)),
    "empty": (b"", (400, "invalid_json", None)),
    "a list": (b"[]", (400, "invalid_request", None)),
    "a number": (b"1", (400, "invalid_request", None)),
    "no model": (
        {"messages": [{"role": "user", "content": "x"}]},
        (400, "invalid_request", "model"),
    ),
    "a number for a model": (body(CHAT, model=5), (400, "invalid_request", "model")),
    "no messages": ({"model": "smollm2"}, (400, "invalid_request", "messages")),
    "text for messages": (
        {"model": "smollm2", "messages": "Hi"},
        (400, "invalid_request", "messages"),
    ),
    "an unknown role": (
        {"model": "smollm2", "messages": [{"role": "root", "content": "x"}]},
        (400, "invalid_request", "messages[0].role"),
    ),
    "an image": (
        {
            "model": "smollm2",
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}],
                }
            ],
        },
        (400, "invalid_request", "messages[0].content[0].image_url.url"),
    ),
    "text for a number": (body(CHAT, max_tokens="5"), (400, "invalid_request", "max_tokens")),
    "too many tokens": (body(CHAT, max_tokens=10**9), (400, "invalid_request", "max_tokens")),
    "no tokens": (body(CHAT, max_tokens=0), (400, "invalid_request", "max_tokens")),
    "too many choices": (body(CHAT, n=1000), (400, "invalid_request", "n")),
    "too hot": (body(CHAT, temperature=9), (400, "invalid_request", "temperature")),
    "seed": (body(CHAT, seed=1), (400, "unsupported_parameter", "seed")),
    "a chat template": (
        body(CHAT, chat_template="{{x}}"),
        (400, "unsupported_parameter", "chat_template"),
    ),
    "stream options without a stream": (
        body(CHAT, stream_options={"include_usage": True}),
        (400, "invalid_request", "stream_options"),
    ),
    "a choice without tools": (
        body(CHAT, tool_choice="auto"),
        (400, "invalid_request", "tool_choice"),
    ),
    "too many stops": (body(CHAT, stop=["a"] * 50), (400, "invalid_request", "stop")),
}


@pytest.mark.parametrize(("given", "expected"), list(CASES.values()), ids=list(CASES))
def test_bad_bodies(running, given, expected):
    before = sent(running)
    assert error_of(running.post("researcher", given)) == expected
    assert sent(running) == before


@pytest.mark.parametrize(
    "prompt", [[["nested"]], ["text", 5], [[1], 5], [[]], {"a": 1}, None, ["x"] * 65, [[1]] * 65]
)
def test_bad_prompts(running, prompt):
    given = {"model": "smollm2", "prompt": prompt}
    assert error_of(running.post("public", given, PATHS[1]))[1] == "invalid_request"


def test_a_body_that_is_there_at_once_is_bounded_like_one_that_comes_in_parts():
    def read(length: int) -> bytes:
        exchange = SimpleNamespace(body_now=lambda: b"x" * length)
        return asyncio.run(read_body({"headers": [], EXCHANGE: exchange}, None, 10, 1.0))

    assert len(read(10)) == 10
    with pytest.raises(RequestTooLargeError):
        read(11)


def test_deep_json_is_no_crash(running):
    deep = b'{"model":"smollm2","messages":' + b"[" * 100_000
    assert error_of(running.post("public", deep))[0] == 400


def test_oversized_bodies_are_refused_with_and_without_a_length(running):
    big = json.dumps(body(CHAT, user="x" * 2_000_000)).encode()
    assert error_of(running.post("public", big))[:2] == (413, "request_too_large")
    parts = (big[i : i + 65536] for i in range(0, len(big), 65536))
    assert error_of(running.post("public", parts))[:2] == (413, "request_too_large")


KEYS = {
    "none": (None, "missing_api_key"),
    "no key": ("Bearer", "missing_api_key"),
    "another scheme": ("Basic abc", "missing_api_key"),
    "nonsense": ("Bearer sk-abc", "invalid_api_key"),
    "unicode": ("Bearer airlock_key_é", "invalid_api_key"),
    "very long": ("Bearer " + "a" * 5000, "invalid_api_key"),
}


@pytest.mark.parametrize(("value", "code"), list(KEYS.values()), ids=list(KEYS))
def test_bad_keys(running, value, code):
    headers = {} if value is None else {"authorization": value.encode()}
    answer = httpx.post(running.url + CHAT, json=body(CHAT), headers=headers)
    assert error_of(answer)[:2] == (401, code)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_of_the_other_kind_opens_nothing(running):
    assert error_of(running.post(running.admin_key, body(CHAT)))[1] == "invalid_api_key"
    headers = {"authorization": f"Bearer {running.keys['researcher']}"}
    admin = httpx.get(f"{running.url}/admin/v1/people", headers=headers)
    assert error_of(admin)[:2] == (401, "invalid_api_key")


def test_expired_and_revoked_keys(running):
    person = running.people["public"]
    made = running.admin("POST", "/keys", json={"person_id": person}).json()
    running.wait_until_seen()
    assert running.post(made["key"], body(CHAT)).status_code == 200
    running.admin("POST", f"/keys/{made['id']}/revoke")
    running.wait_until_seen()
    assert error_of(running.post(made["key"], body(CHAT)))[:2] == (401, "revoked_api_key")
    expiring = running.admin("POST", "/keys", json={"person_id": person, "days": 1}).json()
    running.wait_until_seen()
    directory = running.gateway.keeper.current().directory
    from datetime import UTC, datetime, timedelta

    from gateway.errors import ExpiredKeyError

    now = datetime.now(UTC)
    assert directory.authenticate(f"Bearer {expiring['key']}", now).person_id == person
    with pytest.raises(ExpiredKeyError):
        directory.authenticate(f"Bearer {expiring['key']}", now + timedelta(days=2))


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", CHAT, (405, "method_not_allowed")),
        ("POST", "/v1/models", (405, "method_not_allowed")),
        ("POST", "/v1/audio/speech", (404, "not_found")),
        ("GET", "/v1", (404, "not_found")),
        ("GET", "/v1/../admin/v1/people", (404, "not_found")),
        ("POST", "/v1/chat/completions/", (404, "not_found")),
        ("POST", "/v1//chat/completions", (404, "not_found")),
        ("POST", "/invocations", (404, "not_found")),
        ("POST", "/tokenize", (404, "not_found")),
        ("GET", "/nothing", (404, "not_found")),
        ("DELETE", "/healthz", (405, "method_not_allowed")),
        ("GET", "/admin/v1/people", (401, "missing_api_key")),
    ],
)
def test_paths_and_methods(running, method, path, expected):
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
        raw.sendall(f"{head}Connection: close\r\n\r\n".encode())
        data = b""
        while part := raw.recv(65536):
            data += part
    head, _, content = data.partition(b"\r\n\r\n")
    error = json.loads(content)["error"]
    assert (int(head.split()[1]), error["code"]) == expected
    assert set(error) == {"message", "type", "param", "code"}


def test_a_host_header_decides_nothing(running):
    headers = {"authorization": f"Bearer {running.keys['public']}", "host": "x/admin/v1?"}
    answer = httpx.post(running.url + CHAT, json=body(CHAT), headers=headers)
    assert answer.headers["x-airlock-tier"] == "public"


def test_a_header_twice_is_refused(running):
    headers = [
        ("authorization", f"Bearer {running.keys['public']}"),
        ("authorization", f"Bearer {running.keys['researcher']}"),
    ]
    answer = httpx.post(running.url + CHAT, json=body(CHAT), headers=headers)
    assert error_of(answer)[:2] == (400, "invalid_request")


def test_logs_hold_no_prompt_key_or_token(running, caplog):
    running.engines["base"].mode = "500"
    with caplog.at_level(0):
        running.post("researcher", body(CHAT, user="a-very-private-user"))
        running.post("researcher", {"model": "smollm2", "messages": "a private prompt"})
        wait_for(lambda: "a request was not answered" in caplog.text)  # Told after the answer.
    text = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "private" not in text
    assert running.keys["researcher"] not in text
    assert "engine-key" not in text


def test_a_body_that_never_comes_ends_in_time(request, tmp_path):
    from tests.gateway.conftest import make_settings, run_gateway

    settings = make_settings(request, tmp_path, "sqlite")
    with run_gateway(settings, body_timeout_seconds=0.3) as running:
        host, port = running.url.removeprefix("http://").split(":")
        for path, key in ((CHAT, running.keys["public"]), ("/admin/v1/people", "nobody's")):
            with socket.create_connection((host, int(port)), timeout=10) as raw:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n"
                raw.sendall(f"{head}Authorization: Bearer {key}\r\n\r\n{{".encode())
                data = raw.recv(65536)
            assert data.startswith(b"HTTP/1.1 408 ")
            assert b'"request_timeout"' in data
