"""A caller that leaves ends the work of a real engine, whether it streamed or not."""

import http.client
import json
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.conftest import Demo

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(300)]

ENDLESS = "Once upon a time"
"""Continued greedily a small model soon repeats itself; what is sampled may end at any token."""


def wait_until_more_than(demo: Demo, count: float) -> None:
    deadline = time.monotonic() + 60
    while demo.generated("unlearned") <= count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("stream", [True, False])
def test_the_engine_stops_when_its_caller_leaves(demo: Demo, stream: bool):
    demo.wait_ready()
    root = urlsplit(demo.root)
    connection = http.client.HTTPConnection(root.hostname, root.port, timeout=60)
    body = {
        "model": "smollm2",
        "prompt": ENDLESS,
        "max_tokens": 1500,
        "temperature": 0,
        "stream": stream,
    }
    headers = {
        "authorization": f"Bearer {demo.facts['public_key']}",
        "content-type": "application/json",
    }
    before = demo.generated("unlearned")
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    wait_until_more_than(demo, before + 5)
    connection.close()
    # 200 ms for the gateway, the rest for the engine's own step and its count.
    time.sleep(0.5)
    left = demo.generated("unlearned")
    time.sleep(1)
    assert demo.generated("unlearned") == left
    assert left - before < 1400, "it was done before its caller left: nothing was shown"
    in_flight = demo.metric("airlock_in_flight_requests")
    assert in_flight == 0


def test_who_leaves_a_stream_is_charged_what_the_engine_had_counted(demo: Demo):
    demo.wait_ready()
    row = 'airlock_tokens_total{alias="smollm2:unlearned",tier="public",type="completion"}'
    charged, made = demo.metric(row), demo.generated("unlearned")
    body = {
        "model": "smollm2",
        "prompt": ENDLESS,
        "max_tokens": 1500,
        "temperature": 0,
        "stream": True,
    }
    headers = {"authorization": f"Bearer {demo.facts['public_key']}"}
    with httpx.stream(
        "POST", f"{demo.root}/v1/completions", json=body, headers=headers, timeout=60
    ) as answer:
        for events, line in enumerate(filter(None, answer.iter_lines())):
            assert '"usage"' not in line
            if events == 40:
                break
    deadline = time.monotonic() + 10
    while demo.metric(row) == charged:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    # What the engine made after it had told of these, until it heard that nobody waits.
    assert 30 <= demo.metric(row) - charged <= demo.generated("unlearned") - made
    assert demo.generated("unlearned") - made < demo.metric(row) - charged + 60
