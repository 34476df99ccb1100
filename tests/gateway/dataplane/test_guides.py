"""Documents that an engine would compile are bounded, wherever they may stand."""

import time
from collections.abc import Callable
from itertools import product
from typing import Any

import msgspec
import pytest

from gateway.dataplane.endpoints import ENDPOINTS
from gateway.dataplane.wire.guides import MAX_DEPTH, MAX_PATTERN, MAX_REPEATS, MAX_VALUES
from gateway.dataplane.wire.request import check_limits, decode
from gateway.errors import InvalidRequestError, UnsupportedParameterError
from gateway.policy.capabilities import Capability

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
COUNT = f"{MESSAGES}/count_tokens"
SAID = {"messages": [{"role": "user", "content": "x"}]}


def used(document):
    """Messages of a conversation in which a tool was used so."""
    use = {"type": "tool_use", "id": "a", "name": "f", "input": document}
    return [{"role": "assistant", "content": [use]}, *SAID["messages"]]


PLACES: dict[str, Callable[[object], tuple[str, dict[str, Any]]]] = {
    "response_format": lambda it: (
        CHAT,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": it}}},
    ),
    "structured_outputs": lambda it: (CHAT, {"structured_outputs": {"json": it}}),
    "tools": lambda it: (CHAT, {"tools": [{"function": {"name": "f", "parameters": it}}]}),
    "text of responses": lambda it: (
        RESPONSES,
        {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": it}}},
    ),
    "tools of responses": lambda it: (
        RESPONSES,
        {"input": "x", "tools": [{"type": "function", "name": "f", "parameters": it}]},
    ),
    "tools of messages": lambda it: (
        MESSAGES,
        {"max_tokens": 1, "tools": [{"name": "f", "input_schema": it}]},
    ),
    "tools that are counted": lambda it: (COUNT, {"tools": [{"name": "f", "input_schema": it}]}),
    "output of messages": lambda it: (
        MESSAGES,
        {"max_tokens": 1, "output_config": {"format": {"type": "json_schema", "schema": it}}},
    ),
    "a tool's use": lambda it: (MESSAGES, {"max_tokens": 1, "messages": used(it)}),
}


def deep(levels: int) -> dict:
    document: dict = {}
    for _ in range(levels - 1):
        document = {"not": document}
    return document


def counted(properties: int, bound: float) -> dict:
    """An object that has a number of some of its properties."""
    named = {f"p{number}": {} for number in range(properties)}
    return {"type": "object", "properties": named, "minProperties": 0, "maxProperties": bound}


BOUNDS = {
    "depth": (deep(MAX_DEPTH), deep(MAX_DEPTH + 1)),
    "values": ({"enum": [1] * (MAX_VALUES - 2)}, {"enum": [1] * (MAX_VALUES - 1)}),
    "pattern": ({"pattern": "a" * MAX_PATTERN}, {"pattern": "a" * (MAX_PATTERN + 1)}),
    "pattern of names": (
        {"patternProperties": {"a" * MAX_PATTERN: {}}},
        {"not": {"patternProperties": {"b": {}, "a" * (MAX_PATTERN + 1): {}}}},
    ),
    "repetitions": (
        {"type": "string", "minLength": MAX_REPEATS},
        {"not": {"minItems": MAX_REPEATS + 0.5}},
    ),
    "counted properties": (counted(64, 32), counted(64, 33)),
    "counted properties of several": (
        {"anyOf": [counted(32, 64)] * 2},
        {"anyOf": [counted(32, 64)] * 3},
    ),
    "many properties that are counted": (
        {**counted(600, 0), "not": {"maxProperties": MAX_REPEATS}},
        {"not": counted(600, 0.5)},
    ),
    "bytes": ({"title": "a" * 32_000}, {"title": "a" * 32_768}),
}


def check(place, document, allowed=frozenset(Capability)):
    path, fields = PLACES[place](document)
    body = {"model": "m", **({} if path == RESPONSES else SAID), **fields}
    request = decode(msgspec.json.encode(body), ENDPOINTS[path].decoder)
    return check_limits(request, allowed=allowed, max_output_tokens=100)


@pytest.mark.parametrize(("place", "bound"), list(product(PLACES, BOUNDS)))
def test_documents_are_bounded_wherever_they_stand(place, bound):
    good, bad = BOUNDS[bound]
    check(place, good)
    with pytest.raises(InvalidRequestError):
        check(place, bad)


def test_documents_of_one_request_are_bounded_together():
    """What each of a hundred tools may have would take half a second, of everybody's time."""
    tools = [{"function": {"name": "f", "parameters": {"enum": [1] * 4000}}}] * 3
    for some, is_good in ((tools[:2], True), (tools, False)):
        body = {"model": "m", **SAID, "tools": some}
        request = decode(msgspec.json.encode(body), ENDPOINTS[CHAT].decoder)
        if is_good:
            check_limits(request, allowed=frozenset(), max_output_tokens=100)
        else:
            with pytest.raises(InvalidRequestError, match="in all"):
                check_limits(request, allowed=frozenset(), max_output_tokens=100)


def test_what_is_much_too_large_is_not_looked_through():
    tools = [{"function": {"name": "f", "parameters": {"enum": [1] * 4000}}}] * 126
    body = {"model": "m", **SAID, "tools": tools}
    request = decode(msgspec.json.encode(body), ENDPOINTS[CHAT].decoder)
    began = time.process_time()
    with pytest.raises(InvalidRequestError):
        check_limits(request, allowed=frozenset(), max_output_tokens=100)
    huge = decode(
        msgspec.json.encode({**body, "tools": [{"function": {"name": "f", "parameters": {
            "enum": [{}] * 300_000}}}]}), ENDPOINTS[CHAT].decoder,
    )  # fmt: skip
    with pytest.raises(InvalidRequestError, match="bytes"):
        check_limits(huge, allowed=frozenset(), max_output_tokens=100)
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize("place", [place for place in PLACES if place != "a tool's use"])
def test_patterns_need_a_capability_wherever_they_stand(place):
    without = frozenset(Capability) - {Capability.GUIDED_DECODING}
    for document in ({"pattern": "a"}, {"not": {"patternProperties": {"a": {}}}}):
        assert Capability.GUIDED_DECODING in check(place, document)
        with pytest.raises(UnsupportedParameterError):
            check(place, document, without)
