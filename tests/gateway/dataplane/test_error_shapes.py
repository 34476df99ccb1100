"""Every status on every path is in the shape of the API that was called, whatever was sent."""

from itertools import product

import anyio
import httpx
import pytest

from gateway.controlplane.bounds import LONGER, MAX_BODY_BYTES, Bounded
from gateway.dataplane.endpoints import ENDPOINTS
from gateway.errors import RequestTooLargeError
from tests.gateway.dataplane.test_engine_fields import FULL

OPENAI_FIELDS = {"message", "type", "param", "code"}
PATHS = [
    *ENDPOINTS,
    "/v1",
    "/v1/",
    "/v1/models",
    "/v1/models/none",
    "/v1/nothing",
    "/v1/messages/batches",
    "/v1/responses/resp_1",
    "/admin/v1/people",
    "/admin/v1/people/none",
    "/admin/v1/nothing",
    "/admin",
    "/",
    "/docs",
    "/openapi.json",
]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
BODIES = {
    "nothing": (b"", None),
    "no JSON": (b"{", "application/json"),
    "a list": (b"[]", "application/json"),
    "a form": (b"a=b", "application/x-www-form-urlencoded"),
    "a file": (b"--x\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x"),
    "bytes": (b"\xff\x00", "application/octet-stream"),
}


def check_shape(answer: httpx.Response, path: str) -> None:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    if path.startswith("/v1/messages"):
        assert set(body) == {"type", "error"}
        assert set(body["error"]) == {"type", "message", "code"}
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
    else:
        assert set(body) == {"error"}
        assert set(body["error"]) == OPENAI_FIELDS
    assert body["error"]["message"]


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_is_in_another_shape(running, path):
    keys = (None, "nonsense", running.keys["public"], running.admin_key)
    with httpx.Client(base_url=running.url, timeout=30) as client:
        for method, key, (content, media_type) in product(METHODS, keys, BODIES.values()):
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            if media_type is not None:
                headers["content-type"] = media_type
            answer = client.request(method, path, content=content, headers=headers)
            assert answer.status_code < 500, (method, path, answer.text)
            assert "detail" not in answer.text or answer.status_code == 200
            if answer.status_code >= 400:
                check_shape(answer, path)
            if path.startswith("/v1"):
                assert answer.headers["x-request-id"].startswith("req_")
                assert int(answer.headers["openai-processing-ms"]) >= 0


@pytest.mark.parametrize("length", ["declared", "in chunks"])
@pytest.mark.parametrize("who", ["nobody", "an administrator"])
def test_nobodys_body_is_kept_without_a_bound(running, length, who):
    """FastAPI reads a body before it asks for a key."""
    key = "nonsense" if who == "nobody" else running.admin_key
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    part, count = b" " * 65_536, MAX_BODY_BYTES // 65_536
    for parts, status in ((count, 400), (count + 1, 413)):
        content = part * parts if length == "declared" else (part for _ in range(parts))
        path = "/admin/v1/people"
        answer = httpx.post(running.url + path, content=content, headers=headers, timeout=30)
        check_shape(answer, path)
        assert answer.status_code == status
    assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize("path", ["/admin/v1/people", *LONGER])
def test_a_body_has_the_bound_of_its_path(path):
    most = LONGER.get(path, MAX_BODY_BYTES)

    async def ask(length: int) -> None:
        parts = iter([b" " * most, b" " * (length - most)])

        async def receive():
            return {"type": "http.request", "body": next(parts), "more_body": True}

        async def app(scope, receive, send):
            await receive()
            await receive()

        await Bounded(app, 30.0)({"type": "http", "path": path}, receive, receive)

    anyio.run(ask, most)
    with pytest.raises(RequestTooLargeError):
        anyio.run(ask, most + 1)


def test_forms_that_are_not_read(running):
    for headers in (
        {"content-type": "text/plain"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ):
        answer = running.post("public", b"{}", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (
            415,
            "unsupported_media_type",
        )
    given = FULL["/v1/embeddings"]
    for media_type in ("application/json; charset=utf-8", "Application/JSON"):
        answer = running.post(
            "public", given | {"x": 1}, "/v1/embeddings", headers={"content-type": media_type}
        )
        assert answer.json()["error"]["code"] == "unsupported_parameter"


def test_two_keys_leave_it_open_who_calls(running):
    body = {"model": "smollm2", "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]}
    mine, other = running.keys["public"], running.keys["researcher"]
    for given, status in (
        ({"x-api-key": mine}, 200),
        ({"authorization": f"Bearer {mine}"}, 200),
        ({"authorization": f"Bearer {mine}", "x-api-key": mine}, 200),
        ({"authorization": f"Bearer {mine}", "x-api-key": other}, 400),
        ({"x-api-key": running.admin_key}, 401),
        ({"x-api-key": ""}, 401),
    ):
        answer = httpx.post(f"{running.url}/v1/messages", json=body, headers=given)
        assert answer.status_code == status, given
    models = httpx.get(f"{running.url}/v1/models", headers={"x-api-key": mine})
    assert [model["id"] for model in models.json()["data"]] == ["smollm2", "smollm2:unlearned"]
    chat = httpx.post(f"{running.url}/v1/chat/completions", json=body, headers={"x-api-key": mine})
    assert chat.json()["error"]["code"] == "missing_api_key"


def test_a_defect_shows_nothing_of_itself(running, monkeypatch, caplog):
    def broken(*_):
        raise KeyError("a secret of the code")

    inference = running.gateway.data_plane._inference
    monkeypatch.setattr(inference, "choose", broken)
    for path in ("/v1/chat/completions", "/v1/messages"):
        body = {name: FULL[path][name] for name in ("model", "max_tokens")}
        body["messages"] = [{"role": "user", "content": "Hi"}]
        answer = running.post("public", body, path)
        assert answer.status_code == 500
        assert "secret" not in answer.text
        check_shape(answer, path)


def test_sdks_are_told_whether_to_come_back(running):
    denied = running.chat("public", "smollm2:base")
    assert denied.headers["x-should-retry"] == "false"
    assert int(denied.headers["openai-processing-ms"]) >= 0
    assert denied.headers["openai-version"] == "2020-10-01"
    revoked = {"checkpoint": "sha256:" + "d" * 64, "reason": "r"}
    running.admin("POST", "/revocations", json=revoked)
    conflict = running.admin("POST", "/revocations", json=revoked)
    assert (conflict.status_code, conflict.headers["x-should-retry"]) == (409, "false")


SENTENCES = {
    "a field that is missing": ({"model": None}, "The field 'model' is required."),
    "a field that is not known": (
        {"foo": 1},
        "Unsupported parameter: 'foo': this request has no such field.",
    ),
    "too much": ({"max_tokens": 10**6}, "'max_tokens' must be at most 2048."),
    "a door that is closed": (
        {"model": "smollm2:base"},
        "'smollm2:base' needs a grant for: capitals. Apply for one. GET /v1/models lists what you "
        "may ask for now.",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_an_error_says_in_plain_words_what_to_change(running, case):
    change, sentence = SENTENCES[case]
    asked = {"model": "smollm2", "messages": [{"role": "user", "content": "x"}]} | change
    answer = running.post("public", {k: v for k, v in asked.items() if v is not None})
    assert answer.json()["error"]["message"] == sentence
