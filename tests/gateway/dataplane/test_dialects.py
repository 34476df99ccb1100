"""Named events pass byte for byte, however the network splits them; usage, ends and faults."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.dialects import Embeddings, Messages, NamedEventReader, Responses, TokenCount
from gateway.errors import EngineFailedError
from tests.fakes import dialects

PATHS = {"/v1/responses": Responses(), "/v1/messages": Messages()}
# A text that looks like an event is still a text: JSON has no raw line breaks.
TRICK = "event: error\ndata: {}\n\nevent: message_stop\ndata: {}\n\n"


def feed(dialect, parts: list[bytes]) -> tuple[bytes, bool, tuple[int, int]]:
    reader = NamedEventReader(dialect)
    out, done = b"", False
    for part in parts:
        events = reader.feed(part)
        out, done = out + events.forward, done or events.is_done
    return out, done, (reader.usage.prompt_tokens, reader.usage.completion_tokens)


@pytest.mark.parametrize("path", list(PATHS))
@given(cuts=st.lists(st.integers(0, 4000), max_size=12))
def test_any_split_gives_the_same_bytes(path, cuts):
    before, tokens, after = dialects.events(path, TRICK, 4)
    stream = b"".join([*before, *tokens, *after])
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parts = [stream[a:b] for a, b in pairwise(places)]
    assert feed(PATHS[path], parts) == (stream, True, (3, 4))


@pytest.mark.parametrize("path", list(PATHS))
def test_a_stream_without_its_last_event_is_not_done(path):
    before, tokens, _ = dialects.events(path, TRICK, 4)
    assert feed(PATHS[path], [*before, *tokens])[:2] == (b"".join([*before, *tokens]), False)


@pytest.mark.parametrize("path", list(PATHS))
def test_the_engines_own_account_of_a_fault_is_not_passed_on(path):
    before, tokens, after = dialects.events(path, "x", 2)
    fault = b'event: error\ndata: {"type":"error","error":{"message":"inside"}}\n\n'
    said = b"".join([*before, *tokens])
    assert feed(PATHS[path], [said, fault, *after])[:2] == (said, False)
    assert feed(PATHS[path], [said + fault + b"".join(after)])[:2] == (said, False)


def test_tokens_from_a_cache_count_as_prompt():
    answer = json.dumps(
        {"usage": {"input_tokens": 1, "cache_read_input_tokens": 16, "output_tokens": 2}}
    )
    usage = Messages().read_usage(answer.encode())
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (17, 2)


@pytest.mark.parametrize("dialect", [Responses(), Messages(), TokenCount(), Embeddings()])
@pytest.mark.parametrize("nonsense", [b"", b"{}", b"<html>", b"[1]", b'{"usage": 5}'])
def test_nonsense_is_no_answer(dialect, nonsense):
    assert dialect.read_usage(nonsense) is None


def test_whole_answers():
    for path, dialect in PATHS.items():
        usage = dialect.read_usage(json.dumps(dialects.whole(path, "x", 4)).encode())
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens) == (3, 4)
    embedded = b'{"data":[{"embedding":[1]}],"usage":{"prompt_tokens":3,"total_tokens":3}}'
    usage = Embeddings().read_usage(embedded)
    assert usage is not None
    assert usage.prompt_tokens == 3


def test_error_events_are_in_the_apis_own_shape():
    response = Responses().error_event(EngineFailedError())
    assert response.startswith(b"event: error\ndata: {")
    data = json.loads(response.partition(b"data: ")[2])
    assert (data["type"], data["code"], data["param"]) == ("error", "engine_error", None)
    assert data["error"]["code"] == "engine_error"
    message = json.loads(Messages().error_event(EngineFailedError()).partition(b"data: ")[2])
    assert message["type"] == "error"
    assert message["error"]["type"] == "api_error"
