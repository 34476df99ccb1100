"""Streams are cut at event boundaries and pass byte for byte, however the network splits them."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane import answers, dialects
from gateway.dataplane.answers import Completions, EventReader, Usage
from gateway.dataplane.dialects import Messages, Responses
from gateway.dataplane.endpoints import ENDPOINTS
from gateway.dataplane.outcome import Outcome
from gateway.dataplane.stream import Stream
from gateway.errors import GrantRevokedError

CHUNK = b'data: {"choices":[{"delta":{"content":"x"}}],"usage":null}\n\n'
# A text may speak of empty choices; it is still a text.
TRICK = b'data: {"choices":[{"delta":{"content":"{\\"choices\\":[]}"}}],"choices2":[]}\n\n'
NESTED = b'data: {"choices":[{"x":{"choices":[]}}],"usage":{"prompt_tokens":1}}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = CHUNK + TRICK + NESTED + CHUNK + USAGE + DONE
PASSED = STREAM.replace(b',"usage":{"prompt_tokens":1}', b"")
"""What callers get who asked for the usage: a last event with it, and nothing in the others."""


def feed(reader: EventReader, parts: list[bytes]) -> tuple[bytes, bool]:
    out, done = b"", False
    for part in parts:
        events = reader.feed(part)
        out += events.forward
        done = done or events.is_done
    return out, done


@given(st.lists(st.integers(0, len(STREAM)), max_size=12), st.booleans())
def test_any_split_gives_the_same_bytes(cuts, forward_usage):
    places = [0, *sorted(cuts), len(STREAM)]
    parts = [STREAM[a:b] for a, b in pairwise(places)]
    reader = EventReader(forward_usage=forward_usage)
    out, done = feed(reader, parts)
    assert out == (PASSED if forward_usage else PASSED.replace(USAGE, b""))
    assert done
    assert (reader.usage.prompt_tokens, reader.usage.completion_tokens) == (3, 4)


def counting(index: int, prompt_tokens: int, tokens: int, end: str = "") -> bytes:
    usage = f'"usage":{{"prompt_tokens":{prompt_tokens},"completion_tokens":{tokens}}}'
    return b'data: {"choices":[{"index":%d,"text":"x"}],%b%b}\n\n' % (
        index,
        usage.encode(),
        end.encode(),
    )


def test_the_usage_of_a_stream_that_ends_early_is_the_sum_over_prompts_and_choices():
    reader = EventReader(forward_usage=False, choices=2)
    # Two prompts of 5 and 7 tokens, with two choices each, of which one has not begun.
    parts = [counting(0, 5, 1), counting(2, 7, 1) + counting(1, 5, 4), counting(0, 5, 2)]
    out, _ = feed(reader, parts)
    assert b"usage" not in out
    assert out.count(b'"text":"x"}]}\n\n') == 4
    assert (reader.usage.prompt_tokens, reader.usage.completion_tokens) == (12, 7)


def test_a_usage_is_taken_out_of_the_middle_and_with_its_parts():
    # vLLM's first event goes on after it, and engines with reasoning count that apart.
    first = counting(0, 5, 1, ',"prompt_token_ids":null')
    parts = b',"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":1}}}'
    apart = counting(0, 5, 2).replace(b',"completion_tokens":2}}', parts)
    reader = EventReader(forward_usage=False)
    out, _ = feed(reader, [first, apart])
    plain = b'data: {"choices":[{"index":0,"text":"x"}]'
    assert out == plain + b',"prompt_token_ids":null}\n\n' + plain + b"}\n\n"
    assert (reader.usage.prompt_tokens, reader.usage.completion_tokens) == (5, 2)


def test_a_broken_usage_is_passed_on_as_it_is():
    broken = b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":3\n\n'
    reader = EventReader(forward_usage=False)
    assert feed(reader, [broken]) == (broken, False)
    assert reader.usage.prompt_tokens == 0


@pytest.mark.parametrize("value", [b'"\xff"', b"[" * 60_000], ids=["no text", "nested"])
def test_what_cannot_be_read_of_an_answer_is_no_defect_of_ours(value):
    event = b'data: {"choices":[],"usage":{"prompt_tokens":%b}}\n\n' % value
    reader = EventReader(forward_usage=True)
    assert reader.feed(event).forward
    assert reader.usage == Usage()
    for endpoint in ENDPOINTS.values():
        assert endpoint.dialect.read_usage(b'{"usage":%b}' % value) is None
    for name in (b"response.completed", b"message_start", b"message_delta"):
        named = b'event: %b\ndata: {"response":%b}\n\n' % (name, value)
        for path in ("/v1/responses", "/v1/messages"):
            reader = ENDPOINTS[path].dialect.reader(forward_usage=True, choices=1)
            assert reader.feed(named).forward == named


def test_a_stream_that_is_cut_is_not_done():
    out, done = feed(EventReader(forward_usage=True), [CHUNK, b'data: {"choices"'])
    assert (out, done) == (CHUNK, False)


def test_of_an_answer_that_was_cut_nothing_more_is_written():
    """Its task is cancelled and has not run yet: what comes meanwhile is not covered any more."""
    written: list[bytes] = []
    running = SimpleNamespace(cut_by=None)
    to = SimpleNamespace(begin=lambda *given: written.append(given[-1]), write=written.append)
    outcome = Outcome()
    stream = Stream(EventReader(forward_usage=False), to, outcome, bytes, running)
    stream.take(CHUNK)
    stream.take(TRICK)
    running.cut_by = GrantRevokedError()
    stream.take(TRICK)
    stream.take(DONE)
    assert len(written) == outcome.events == 2
    assert not stream.is_done


FAULT = b'data: {"error": {"message": "inside", "type": "InternalServerError", "code": 500}}\n\n'


@given(st.lists(st.integers(0, 2 * len(CHUNK + FAULT)), max_size=6))
def test_the_engines_own_account_of_a_fault_is_not_passed_on_and_no_end(cuts):
    stream = CHUNK + FAULT + CHUNK + USAGE + DONE
    places = [0, *sorted(cuts), len(stream)]
    reader = EventReader(forward_usage=True)
    assert feed(reader, [stream[a:b] for a, b in pairwise(places)]) == (CHUNK, False)


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [
        (FAULT, None),
        (FAULT.replace(b"500", b"400"), "inside"),
        (b'data: {"error": "odd"}\n\n', None),
    ],
)
def test_what_the_engine_finds_wrong_in_a_request_is_told_from_its_own_fault(fault, refusal):
    reader = EventReader(forward_usage=True)
    assert feed(reader, [fault, DONE]) == (b"", False)
    assert reader.refusal == refusal


def test_a_text_that_says_error_is_no_fault():
    said = b'data: {"choices":[{"delta":{"content":"data: {\\"error\\": 1}"}}]}\n\n'
    assert feed(EventReader(forward_usage=True), [said, DONE]) == (said + DONE, True)


@pytest.mark.parametrize("dialect", [Completions(), Responses(), Messages()])
def test_an_event_without_an_end_is_not_kept(dialect, monkeypatch):
    for module in (answers, dialects):
        monkeypatch.setattr(module, "MAX_EVENT_BYTES", 1000)
    reader = dialect.reader(forward_usage=True, choices=1)
    assert feed(reader, [b"data: " + b"x" * 100] * 100) == (b"", False)
    assert not reader._rest
    assert feed(reader, [b"\n\n" + DONE]) == (b"", False)


def test_a_text_that_says_done_is_not_the_end():
    said = b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}\n\n'
    assert feed(EventReader(forward_usage=True), [said]) == (said, False)


def test_usage_of_a_whole_answer():
    usage = Completions().read_usage(
        b'{"choices":[{}],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
    )
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (1, 2)
    for nonsense in (b"", b"{}", b"<html>", b"[1]"):
        assert Completions().read_usage(nonsense) is None
