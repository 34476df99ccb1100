"""The official SDKs before fake engines, and what they do when engines are slow or fail."""

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
