"""Which door a request goes through, whatever a caller sends and whatever fails."""

import json
import re
import socket
import threading
import time
from contextlib import suppress
from itertools import product

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.silence import end_silence, silence
from tests.servers import wait_for

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")


def body(path: str, model: str = "smollm2", **extra) -> dict:
    messages = [{"role": "user", "content": "Hi"}]
    prompts: dict[str, dict] = {
        "/v1/chat/completions": {"messages": messages},
        "/v1/completions": {"prompt": "Hi"},
        "/v1/responses": {"input": "Hi"},
        "/v1/messages": {"messages": messages, "max_tokens": 16},
    }
    return {"model": model, **prompts[path], **extra}


def error_code(answer: httpx.Response) -> str:
    """The code of an error in either API's shape."""
    found = answer.json()
    is_anthropic = answer.request.url.path.startswith("/v1/messages")
    assert found.keys() == ({"type", "error"} if is_anthropic else {"error"})
    return found["error"]["code"]


def served(running, label: str) -> int:
    return len(running.engines[label].bodies)


@pytest.mark.parametrize(("path", "stream"), list(product(PATHS, (False, True))))
def test_the_rule_sends_each_caller_to_its_door(running, path, stream):
    for who, label in (("public", "unlearned"), ("researcher", "base")):
        answer = running.post(who, body(path, stream=stream), path)
        digest = running.engines[label].digest
        assert answer.status_code == 200
        assert answer.headers["x-airlock-checkpoint"] == digest
        assert answer.headers["x-airlock-tier"] == who
        assert answer.headers["x-request-id"].startswith("req_")
        assert running.engines[label].text in answer.text
        assert running.engines[label].bodies[-1]["model"] == digest


def test_pins(running):
    assert running.chat("researcher", "smollm2:unlearned").headers["x-airlock-checkpoint"] == (
        running.engines["unlearned"].digest
    )
    refused = running.chat("public", "smollm2:base")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "grant_required")
    for name in ("smollm3", "smollm2:other", "smollm2:", ":base", "smollm2:BASE", " smollm2:base"):
        unknown = running.chat("researcher", name)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


def test_models_lists_what_the_caller_may_use(running):
    def names(who: str) -> list[str]:
        headers = {"authorization": f"Bearer {running.keys[who]}"}
        answer = httpx.get(f"{running.url}/v1/models", headers=headers).json()
        assert {tuple(entry) for entry in answer["data"]} == {
            ("id", "object", "created", "owned_by", "max_model_len")
        }
        return [entry["id"] for entry in answer["data"]]

    assert names("public") == ["smollm2", "smollm2:unlearned"]
    assert names("researcher") == ["smollm2", "smollm2:base", "smollm2:unlearned"]
    headers = {"authorization": f"Bearer {running.keys['public']}"}
    one = httpx.get(f"{running.url}/v1/models/smollm2:unlearned", headers=headers)
    assert one.json()["id"] == "smollm2:unlearned"
    hidden = httpx.get(f"{running.url}/v1/models/smollm2:base", headers=headers)
    assert hidden.json()["error"]["code"] == "model_not_found"


DANGEROUS = (
    "seed",
    "chat_template",
    "model",
    "priority",
    "cache_salt",
    "stream_options",
    "prompt_logprobs",
    "echo",
    "logit_bias",
    "allowed_token_ids",
    "kv_transfer_params",
    "vllm_xargs",
    "request_id",
    "continue_final_message",
    "add_generation_prompt",
    "guided_json",
    "documents",
)
ENDS = ("[DONE]", "response.completed", "message_stop")
FAULTS = ("ok", "500", "400", "garbage", "die", "cut", "error event")


@pytest.mark.parametrize(
    ("path", "stream", "fault", "who"),
    list(product(PATHS, (False, True), FAULTS, ("public", "researcher"))),
)
def test_no_fault_leads_to_another_door(running, path, stream, fault, who):
    mine, other = ("base", "unlearned") if who == "researcher" else ("unlearned", "base")
    wait_for(lambda: httpx.get(f"{running.url}/readyz").status_code == 200)
    # The same request may have been under way when the engine failed, in the case before.
    wait_for(lambda: running.metric("airlock_held_back_requests") == 0)
    running.engines[mine].mode = fault
    before = served(running, other)
    answer = running.post(who, body(path, stream=stream), path)
    assert served(running, other) == before
    assert running.engines[other].text not in answer.text
    assert "secret inside" not in answer.text
    assert running.engines[mine].digest not in answer.text
    in_streams = ("die", "cut", "error event")
    if fault == "ok" or (fault in in_streams and not stream):
        assert answer.status_code == 200
    elif fault in in_streams:
        assert answer.status_code == 200
        assert '"code":"engine_error"' in answer.text
        assert not any(end in answer.text for end in ENDS)
    elif stream and fault == "garbage":
        assert "engine_error" in answer.text
    else:
        assert error_code(answer) in ("engine_error", "invalid_request")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_request_that_an_engine_finds_wrong_in_a_stream_is_no_fault_of_the_engine(running, path):
    """VLLM looks at schemas only when it has begun a stream; three faults would close it to all."""
    engine = running.engines["unlearned"]
    engine.mode = "refusal event"
    for _ in range(5):
        answer = running.post("public", body(path, stream=True), path)
        assert (answer.status_code, error_code(answer)) == (400, "invalid_request")
        assert "a bad schema for the model" in answer.text
    engine.mode = "ok"
    assert running.metric("airlock_held_back_requests") == 0
    assert running.metric("airlock_breaker_open") == 0
    assert running.post("public", body(path, stream=True), path).status_code == 200


def test_a_stream_that_breaks_takes_its_engine_from_nobody(running):
    """VLLM breaks off a stream of responses whose schema it does not like."""
    running.engines["unlearned"].mode = "die"
    path = "/v1/responses"
    for length in range(10, 30):
        given = body(path, stream=True, max_output_tokens=length)
        assert "engine_error" in running.post("public", given, path).text
        assert running.chat("public").status_code == 200


SCHEMAS: dict[str, list[dict]] = {
    "/v1/responses": [
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}},
        {"tools": [{"type": "function", "name": "x", "parameters": {}}]},
    ],
    "/v1/messages": [{"tools": [{"name": "x", "input_schema": {}}]}],
    "/v1/chat/completions": [{"tools": [{"type": "function", "function": {"name": "x"}}]}],
}


@pytest.fixture
def sensitive(request, tmp_path):
    """A gateway whose breakers open at the first fault."""
    given = make_settings(request, tmp_path, "sqlite")
    with run_gateway(given, breaker_failures=1, breaker_open_seconds=30.0) as running:
        yield running


WITH_SCHEMAS = pytest.mark.parametrize(
    ("path", "schema"),
    [(path, schema) for path in ("/v1/responses", "/v1/messages") for schema in SCHEMAS[path]],
)


@WITH_SCHEMAS
def test_an_engine_that_breaks_streams_in_their_middle_is_to_blame_whatever_schemas_they_have(
    sensitive, path, schema
):
    """VLLM compiles a schema before the model says its first word."""
    sensitive.engines["unlearned"].mode = "die in the middle"
    broken = sensitive.post("public", body(path, stream=True, **schema), path)
    assert "delta" in broken.text
    assert "engine_error" in broken.text
    assert sensitive.metric("airlock_breaker_open") == 1


@WITH_SCHEMAS
def test_streams_that_schemas_break_take_their_engine_from_nobody(sensitive, path, schema):
    """VLLM does not say that a schema was it; somebody's may be wrong on purpose."""
    sensitive.engines["unlearned"].mode = "die"
    broken = sensitive.post("public", body(path, stream=True, **schema), path)
    assert "engine_error" in broken.text
    assert sensitive.metric("airlock_breaker_open") == 0
    # With no schema it was the engine's fault.
    broken = sensitive.post("public", body(path, stream=True), path)
    assert "engine_error" in broken.text
    assert sensitive.metric("airlock_breaker_open") == 1


@pytest.mark.parametrize(
    ("path", "mode", "stream"),
    [
        # Of chats vLLM says what it was, and of the others it looks before a whole answer.
        ("/v1/chat/completions", "die", True),
        ("/v1/responses", "garbage", False),
        ("/v1/messages", "garbage", False),
        # No schema keeps a stream from beginning.
        ("/v1/responses", "500", True),
        ("/v1/messages", "500", True),
    ],
)
def test_other_faults_are_the_engines_with_a_schema_too(sensitive, path, mode, stream):
    sensitive.engines["unlearned"].mode = mode
    given = body(path, stream=stream, **SCHEMAS[path][0])
    assert "engine_error" in sensitive.post("public", given, path).text
    assert sensitive.metric("airlock_breaker_open") == 1


def test_an_engine_that_is_down_is_503_and_comes_back(running):
    engine = running.engines["base"]
    digest, engine.digest = engine.digest, "sha256:" + "0" * 64
    try:
        # The engine has been restarted on other weights: it refuses the digest itself.
        answer = running.chat("researcher")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_unavailable")
        wait_for(lambda: running.metric("airlock_engine_up") == 1)
        before = served(running, "base") + served(running, "unlearned")
        assert running.chat("researcher").status_code == 503
        assert served(running, "base") + served(running, "unlearned") == before
        assert running.chat("public").status_code == 200
    finally:
        engine.digest = digest
    wait_for(lambda: running.chat("researcher").status_code == 200)


def leave(running, *, stream: bool) -> float:
    """Ask and leave; return how many seconds later the engine's work was ended."""
    engine = running.engines["unlearned"]
    aborted, gone = engine.aborted, running.metric("airlock_client_disconnects_total")
    request = body(PATHS[0], stream=stream)
    headers = {"authorization": f"Bearer {running.keys['public']}"}
    with (
        suppress(httpx.ReadTimeout),
        httpx.stream(
            "POST", running.url + PATHS[0], json=request, headers=headers, timeout=0.4
        ) as answer,
    ):
        next(answer.iter_raw())
    left = time.monotonic()
    wait_for(lambda: engine.aborted == aborted + 1, 2)
    seconds = time.monotonic() - left
    wait_for(lambda: running.metric("airlock_in_flight_requests") == 0)
    assert running.metric("airlock_client_disconnects_total") == gone + 1
    return seconds


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.timed
def test_a_caller_that_leaves_ends_the_engines_work(running, stream):
    engine = running.engines["unlearned"]
    engine.tokens, engine.delay_seconds = 100, 0.05
    # A busy machine holds one or the other up; a gateway that is too slow is so each time.
    assert any(leave(running, stream=stream) < 0.2 for _ in range(5))


def stream_until_end(running, who: str) -> dict:
    """Start a long stream in a thread; `text` holds what came, `seconds` how long it took."""
    found = {"text": "", "started": threading.Event()}

    def read() -> None:
        began = time.monotonic()
        headers = {"authorization": f"Bearer {running.keys[who]}"}
        request = body(PATHS[0], stream=True)
        with httpx.stream(
            "POST", running.url + PATHS[0], json=request, headers=headers, timeout=30
        ) as answer:
            for part in answer.iter_text():
                found["text"] += part
                found["started"].set()
        found["ended"] = time.monotonic()
        found["seconds"] = found["ended"] - began

    found["thread"] = threading.Thread(target=read)
    found["thread"].start()
    assert found["started"].wait(10)
    return found


@pytest.mark.parametrize("how", ["grant", "key", "person"])
@pytest.mark.timed
def test_a_revocation_cuts_the_running_stream_within_a_second(fresh, how):
    for engine in fresh.engines.values():
        engine.tokens, engine.delay_seconds = 200, 0.05
    stream = stream_until_end(fresh, "researcher")
    other = stream_until_end(fresh, "public")
    key_id = fresh.keys["researcher"].split("_")[2]
    answer = {
        "grant": lambda: fresh.admin("POST", f"/grants/{fresh.grants['researcher']}/revoke"),
        "key": lambda: fresh.admin("POST", f"/keys/{key_id}/revoke"),
        "person": lambda: fresh.admin(
            "PATCH", f"/people/{fresh.people['researcher']}", json={"state": "suspended"}
        ),
    }[how]()
    assert answer.status_code == 200, answer.text
    # From the answer on: before it the change is not made, and a commit waits for the disk.
    revoked = time.monotonic()
    stream["thread"].join(10)
    assert stream["ended"] - revoked < 1.0
    assert '"code":"grant_revoked"' in stream["text"]
    assert "[DONE]" not in stream["text"]
    after = fresh.chat("researcher", "smollm2:base").json()["error"]["code"]
    assert after == ("grant_required" if how == "grant" else "revoked_api_key")
    assert other["thread"].is_alive(), "the public stream goes on"
    for engine in fresh.engines.values():
        engine.delay_seconds = 0.0
    other["thread"].join(10)
    assert "[DONE]" in other["text"]


@pytest.mark.timed
def test_a_silent_database_closes_the_base_first(request, tmp_path):
    given = make_settings(request, tmp_path, "sqlite", privileged_max_age_seconds=1.0)
    with run_gateway(given) as running:
        silence_and_look(running)


def silence_and_look(running) -> None:
    keeper = running.gateway.keeper
    running.engines["base"].tokens, running.engines["base"].delay_seconds = 200, 0.05
    stream = stream_until_end(running, "researcher")
    silence(running.gateway)
    try:
        silent = time.monotonic()
        stream["thread"].join(10)
        assert stream["ended"] - silent < 2.0
        assert '"code":"not_ready"' in stream["text"]
        assert keeper.age_seconds > 1
        answer = running.chat("researcher")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert running.chat("public").status_code == 200
        assert running.chat("nobody").status_code == 401
        keeper._current_at -= 100
        assert running.chat("public").json()["error"]["code"] == "not_ready"
        assert httpx.get(f"{running.url}/readyz").status_code == 503
        assert httpx.get(f"{running.url}/healthz").status_code == 200
    finally:
        end_silence(running.gateway)
        running.engines["base"].delay_seconds = 0.0
    wait_for(lambda: running.chat("researcher").status_code == 200)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.one_of(
            st.text(min_size=1, max_size=12),
            st.sampled_from(DANGEROUS),
        ),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.text(max_size=4), inner, max_size=2)
            ),
            max_leaves=4,
        ),
        max_size=4,
    )
)
def test_nothing_a_public_caller_sends_opens_the_base_or_reaches_an_engine_unlisted(running, extra):
    import json

    before, seen = served(running, "base"), served(running, "unlearned")
    running.gateway.data_plane.limits.__init__()
    raw = json.dumps({**body(PATHS[0]), **extra}, allow_nan=True).encode("utf-8", "surrogatepass")
    answer = running.post("public", raw)
    assert served(running, "base") == before
    assert answer.status_code in (200, 400, 403, 404)
    listed = {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n",
        "stream", "stream_options", "stop", "presence_penalty", "frequency_penalty", "logprobs",
        "top_logprobs", "cache_salt", "top_k", "min_p", "repetition_penalty", "tools",
        "parallel_tool_calls", "response_format", "reasoning_effort",
    }  # fmt: skip
    for sent in running.engines["unlearned"].bodies[seen:]:
        values = {key for key, value in sent.items() if value is not None}
        assert values <= listed
        assert sent["model"] == running.engines["unlearned"].digest


def test_the_engine_gets_none_of_the_callers_headers_and_a_salt_of_its_own(running):
    headers = {"x-request-id": "mine", "cookie": "a=b", "x-forwarded-for": "1.2.3.4", "x-evil": "1"}
    salts = set()
    for who in ("public", "researcher"):
        running.post(who, body(PATHS[0], user="me"), headers=headers)
        engine = running.engines["unlearned" if who == "public" else "base"]
        assert set(engine.headers[-1]) <= {
            "host", "authorization", "content-type", "x-request-id", "accept", "accept-encoding",
            "user-agent", "content-length",
        }  # fmt: skip
        assert engine.headers[-1]["x-request-id"].startswith("req_")
        salts.add(engine.bodies[-1]["cache_salt"])
        assert "user" not in engine.bodies[-1]
    assert len(salts) == 2
    assert all(len(salt) == 43 for salt in salts)


@pytest.mark.parametrize(
    ("who", "model"),
    [("public", "smollm2"), ("researcher", "smollm2"), ("researcher", "smollm2:base")],
)
def test_a_slow_body_does_not_outlive_its_key(fresh, who, model):
    raw = json.dumps(body(PATHS[0], model=model)).encode()
    head = (
        f"POST {PATHS[0]} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {fresh.keys[who]}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
    )
    host, port = fresh.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as caller:
        caller.sendall(head.encode() + raw[:10])
        time.sleep(0.2)
        key_id = fresh.keys[who].split("_")[2]
        assert fresh.admin("POST", f"/keys/{key_id}/revoke").status_code == 200
        fresh.wait_until_seen()
        asked = [len(engine.bodies) for engine in fresh.engines.values()]
        caller.sendall(raw[10:])
        answer = caller.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"revoked_api_key" in answer
    assert asked == [len(engine.bodies) for engine in fresh.engines.values()]


def test_usage_reaches_only_those_who_asked(running):
    plain = running.chat("public", stream=True).text
    asked = running.chat("public", stream=True, stream_options={"include_usage": True}).text
    assert '"choices":[]' not in plain
    assert plain.endswith("data: [DONE]\n\n")
    assert '"choices":[]' in asked
    assert '"completion_tokens":4' in asked


def test_rate_limit_is_per_key_and_says_when(fresh):
    fresh.change_tier("public", requests_per_minute=2)
    fresh.wait_until_seen()
    codes = [fresh.chat("public").status_code for _ in range(4)]
    assert codes.count(200) >= 2
    assert codes[-1] == 429
    last = fresh.chat("public")
    assert last.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(last.headers["retry-after"]) >= 1
    assert fresh.chat("researcher").status_code == 200


def test_sdk_error_classes(running):
    def call(key: str, **given):
        sdk = openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0)
        message = {"role": "user", "content": "Hi"}
        with sdk:
            return sdk.chat.completions.create(
                **{"model": "smollm2", "messages": [message], **given}
            )

    public = running.keys["public"]
    assert call(public).choices[0].message.content == "the, the"
    with pytest.raises(openai.AuthenticationError):
        call("wrong")
    with pytest.raises(openai.PermissionDeniedError):
        call(public, model="smollm2:base")
    with pytest.raises(openai.NotFoundError):
        call(public, model="gpt-4")
    with pytest.raises(openai.BadRequestError) as refused:
        call(public, seed=1)
    assert refused.value.code == "unsupported_parameter"
    running.engines["unlearned"].mode = "500"
    with pytest.raises(openai.InternalServerError):
        call(public)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.timed
def test_a_stalled_engine_is_a_timeout_not_a_hang(request, tmp_path, stream):
    from tests.gateway.conftest import make_settings, run_gateway

    settings = make_settings(request, tmp_path, "sqlite")
    with run_gateway(settings, idle_timeout_seconds=0.5) as running:
        running.engines["base"].mode = "stall"
        began = time.monotonic()
        answer = running.chat("researcher", stream=stream)
        assert time.monotonic() - began < 3
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "engine_timeout")
        assert running.engines["unlearned"].bodies == []
        wait_for(lambda: running.engines["base"].aborted == 1)
        text = httpx.get(f"{running.url}/metrics").text
        blamed = re.findall(r'(?m)^airlock_engine_errors_total\{.*kind="timeout".*\} (.*)$', text)
        assert sorted(map(float, blamed)) == [0, 1]


def test_a_planted_defect_is_stopped_before_the_engine_and_counted(running, monkeypatch):
    """Should routing itself ever be wrong, the second check stops the request."""
    from gateway.dataplane.catalogue import Catalogue
    from gateway.policy.routing import Routed

    def wrong(catalogue, requested, grants):
        family = catalogue.families["smollm2"]
        return Routed("smollm2", family.by_label["base"])

    monkeypatch.setattr(Catalogue, "route", wrong)
    monkeypatch.setattr(running.gateway.keeper, "check", lambda *_: None)
    before = served(running, "base")
    answer = running.chat("public")
    assert answer.status_code == 500
    assert served(running, "base") == before
    assert running.metric("airlock_tier_violation_total") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_pool_that_hands_out_another_doors_engine_is_stopped_and_counted(
    running, monkeypatch, stream
):
    pool = running.gateway.pool
    base = running.engines["base"].digest
    acquire = pool.acquire
    monkeypatch.setattr(pool, "acquire", lambda _, *given: acquire(base, *given))
    before = served(running, "base"), running.metric("airlock_tier_violation_total")
    answer = running.chat("public", stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert served(running, "base") == before[0]
    assert running.metric("airlock_tier_violation_total") == before[1] + 1
    assert all(replica.in_flight == 0 for replica in pool.replicas())
