"""The official SDKs before fake engines, and what they do when engines are slow or fail."""

import re
import time

import anthropic
import httpx
import openai
import pytest

from tests.conformance.door import Door
from tests.conformance.suite import *  # noqa: F403
from tests.conformance.suite import SHORT
from tests.servers import wait_for


@pytest.fixture
def door(running) -> Door:
    wait_for(lambda: httpx.get(f"{running.url}/readyz").status_code == 200)
    return Door(running.url, running.keys, 20)


def test_sdks_retry_what_may_come_back_and_nothing_else(door: Door, running):
    engine = running.engines["unlearned"]
    digest, engine.digest = engine.digest, "sha256:" + "0" * 64
    try:
        with door.openai() as sdk, pytest.raises(openai.InternalServerError) as failed:
            sdk.chat.completions.create(**SHORT)
        assert failed.value.response.headers["x-should-retry"] == "true"
        assert failed.value.response.headers["retry-after"] == "2"
        with door.anthropic() as other, pytest.raises(anthropic.InternalServerError) as overloaded:
            other.messages.create(**SHORT)
        assert overloaded.value.response.json()["error"]["type"] == "overloaded_error"
    finally:
        engine.digest = digest
    # It is back within the two retries of an SDK as it comes.
    with door.openai(max_retries=2) as sdk:
        assert sdk.chat.completions.create(**SHORT).choices


@pytest.mark.timed
def test_a_client_timeout_ends_the_engines_work(door: Door, running):
    engine = running.engines["unlearned"]
    engine.tokens, engine.delay_seconds = 100, 0.05
    aborted = engine.aborted
    with door.openai(timeout=0.3) as sdk, pytest.raises(openai.APITimeoutError):
        sdk.chat.completions.create(**SHORT)
    with door.anthropic(timeout=0.3) as other, pytest.raises(anthropic.APITimeoutError):
        other.messages.create(**SHORT)
    left = time.monotonic()
    wait_for(lambda: engine.aborted == aborted + 2, 2)
    assert time.monotonic() - left < 0.5


def test_a_stream_that_breaks_raises_in_every_sdk(door: Door, running):
    running.engines["unlearned"].mode = "cut"
    with door.openai() as sdk:
        with pytest.raises(openai.APIError, match="engine failed"):
            list(sdk.chat.completions.create(**SHORT, stream=True))
        with pytest.raises(openai.APIError, match="engine failed"):
            list(sdk.responses.create(model="smollm2", input="Hi", stream=True))
    with door.anthropic() as other, pytest.raises(anthropic.APIStatusError, match="engine failed"):
        list(other.messages.create(**SHORT, stream=True))


REMAINING = "x-ratelimit-remaining-"
NAMES = {
    f"x-ratelimit-{what}-{of}"
    for what in ("limit", "remaining", "reset")
    for of in ("requests", "tokens")
}
LIMITS = {
    "requests": ({"requests_per_minute": 1}, "rate_limit_exceeded"),
    "concurrency": ({"max_concurrent": 1}, "rate_limit_exceeded"),
    "tokens": ({"tokens_per_minute": 90}, "rate_limit_exceeded"),
    "the day": ({"tokens_per_day": 90}, "insufficient_quota"),
}


@pytest.mark.parametrize(("limit", "expected"), list(LIMITS.values()), ids=list(LIMITS))
def test_what_is_left_is_said_on_answers_and_on_every_429(door: Door, running, limit, expected):
    given = {"person_id": running.people["public"], **limit}
    key = running.admin("POST", "/keys", json=given).json()["key"]
    running.wait_until_seen()
    running.engines["unlearned"].delay_seconds = 0.2
    with door.openai(key) as sdk:
        chat = sdk.chat.completions
        stream = chat.create(**SHORT, stream=True)
        said = stream.response.headers
        assert set(said) >= NAMES
        with pytest.raises(openai.RateLimitError) as refused:
            chat.create(**{**SHORT, "max_tokens": 50})
        stream.close()
    assert refused.value.code == expected
    headers = refused.value.response.headers
    assert {name for name in headers if name.startswith("x-ratelimit")} == NAMES
    assert int(headers["retry-after"]) >= 1
    (name,) = limit
    if name == "requests_per_minute":
        assert headers["x-ratelimit-limit-requests"] == said["x-ratelimit-limit-requests"] == "1"
        assert headers[f"{REMAINING}requests"] == said[f"{REMAINING}requests"] == "0"
        assert re.fullmatch(r"(\d+m)?\d+s", headers["x-ratelimit-reset-requests"])
    elif name == "tokens_per_minute":
        assert headers["x-ratelimit-limit-tokens"] == "90"
        assert 0 <= int(headers[f"{REMAINING}tokens"]) < 90
    else:
        assert int(headers[f"{REMAINING}requests"]) > 1, "the person's minute is not used up"


def test_raw_responses_say_what_is_left(door: Door, running):
    given = {"person_id": running.people["public"], "requests_per_minute": 7}
    key = running.admin("POST", "/keys", json=given).json()["key"]
    running.wait_until_seen()
    with door.openai(key) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(**SHORT)
        assert raw.headers[f"{REMAINING}requests"] == "6"
        assert raw.headers["x-ratelimit-limit-requests"] == "7"
        assert raw.parse().choices


def test_a_response_of_before_cannot_be_named_and_the_error_says_what_to_do(door: Door, running):
    asked = len(running.engines["unlearned"].bodies)
    with door.openai() as sdk:
        given = {"model": "smollm2", "input": "Hello"}
        first = sdk.responses.create(**given)
        with pytest.raises(openai.BadRequestError) as refused:
            sdk.responses.create(**given, previous_response_id=first.id)
        for call in (sdk.responses.retrieve, sdk.responses.cancel, sdk.responses.delete):
            with pytest.raises(openai.NotFoundError):
                call(first.id)
    assert refused.value.code == "unsupported_parameter"
    assert refused.value.param == "previous_response_id"
    assert "the whole conversation in 'input'" in refused.value.message
    assert len(running.engines["unlearned"].bodies) == asked + 1
    assert running.engines["unlearned"].bodies[-1]["store"] is False
