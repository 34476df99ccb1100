"""The dialects beside chat's: named events, and the words in which each API counts and ends."""

from typing import Protocol

import msgspec

from gateway.dataplane.answers import (
    EVENT_END,
    MAX_EVENT_BYTES,
    NOTHING,
    UNREADABLE,
    Events,
    Reader,
    Usage,
)
from gateway.errors import AirlockError
from gateway.http_errors import anthropic_error_body, error_body

NAME = b"event: "
DATA = b"\ndata: "
WORDS = b"delta" + DATA
"""How the names of events end that bring what the model says; within JSON no line ends."""


class _Counts(msgspec.Struct):
    """Tokens in the words of responses and messages; what a cache held is counted apart."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = 0
    cache_creation_input_tokens: int | None = 0


class _Message(msgspec.Struct):
    usage: _Counts


class _MessageStart(msgspec.Struct):
    message: _Message


class _Response(msgspec.Struct):
    output: list[msgspec.Raw]
    usage: _Counts | None = None


class _ResponseEvent(msgspec.Struct):
    response: _Response


class _TokenCount(msgspec.Struct):
    input_tokens: int


class _EmbeddingUsage(msgspec.Struct):
    prompt_tokens: int = 0


class _EmbeddingList(msgspec.Struct):
    data: list[msgspec.Raw]
    usage: _EmbeddingUsage


def _usage(counts: _Counts | None) -> Usage:
    if counts is None:
        return Usage()
    cached = (counts.cache_read_input_tokens or 0) + (counts.cache_creation_input_tokens or 0)
    return Usage(counts.input_tokens + cached, counts.output_tokens)


class NamedEvents(Protocol):
    """What a reader needs to know of an API whose events have names."""

    ends: frozenset[bytes]
    counts: frozenset[bytes]
    failures: frozenset[bytes]
    """The engine's own account of a fault, in its words: dropped, with all that may follow."""

    def count(self, name: bytes, data: bytes) -> Usage | None:
        """Return what an event says of the usage so far."""


class NamedEventReader:
    """Cuts a stream of named events at event boundaries; only those that may count are parsed."""

    def __init__(self, dialect: NamedEvents) -> None:
        """Read one stream."""
        self._dialect = dialect
        told = dialect.ends | dialect.counts | dialect.failures
        self._marks = tuple(NAME + name + b"\n" for name in told)
        self._rest = b""
        self._has_failed = False
        self.usage = Usage()
        self.refusal: str | None = None
        self.has_spoken = False

    def feed(self, data: bytes) -> Events:
        """Take in bytes; return the whole events among them and what was left before."""
        if self._has_failed:
            return NOTHING
        data = self._rest + data
        end = data.rfind(EVENT_END)
        if end < 0:
            self._has_failed = len(data) > MAX_EVENT_BYTES
            self._rest = b"" if self._has_failed else data
            return NOTHING
        whole, self._rest = data[: end + 2], data[end + 2 :]
        self.has_spoken = self.has_spoken or WORDS in whole
        if not any(mark in whole for mark in self._marks):
            return Events(whole, is_done=False)
        kept, is_done = [], False
        for event in whole.split(EVENT_END):
            name, _, content = event.removeprefix(NAME).partition(DATA)
            if not event:
                continue
            if name in self._dialect.failures:
                self._has_failed, is_done = True, False
                break
            kept.append(event + EVENT_END)
            is_done = is_done or name in self._dialect.ends
            usage = self._dialect.count(name, content)
            if usage is not None:
                self.usage = usage
        return Events(b"".join(kept), is_done)


class Responses:
    """The dialect of `/v1/responses`."""

    ends = counts = frozenset({b"response.completed", b"response.incomplete"})
    failures = frozenset({b"error", b"response.failed"})

    def read_usage(self, body: bytes) -> Usage | None:
        """Return the usage of a whole answer; None when it is no answer."""
        try:
            return _usage(msgspec.json.decode(body, type=_Response).usage)
        except UNREADABLE:
            return None

    def reader(self, *, forward_usage: bool, choices: int) -> Reader:
        """Return what reads one stream; its usage is part of its last event."""
        return NamedEventReader(self)

    def count(self, name: bytes, data: bytes) -> Usage | None:
        """Return what an event says of the usage so far."""
        if name not in self.counts:
            return None
        try:
            return _usage(msgspec.json.decode(data, type=_ResponseEvent).response.usage)
        except UNREADABLE:
            return None

    def error_event(self, error: AirlockError) -> bytes:
        """Return the event that ends a stream which fails.

        `error` stands beside the fields that the API documents: it makes SDKs raise, which would
        take the event for one among others and the cut for an end.
        """
        body = msgspec.json.decode(error_body(error))["error"]
        event = {"type": "error", "sequence_number": 0, **{k: body[k] for k in FIELDS}}
        return b"event: error\ndata: " + msgspec.json.encode(event | {"error": body}) + EVENT_END


FIELDS = ("code", "message", "param")


class Messages:
    """The dialect of `/v1/messages`."""

    ends = frozenset({b"message_stop"})
    counts = frozenset({b"message_start", b"message_delta"})
    failures = frozenset({b"error"})

    def read_usage(self, body: bytes) -> Usage | None:
        """Return the usage of a whole answer; None when it is no answer."""
        try:
            return _usage(msgspec.json.decode(body, type=_Message).usage)
        except UNREADABLE:
            return None

    def reader(self, *, forward_usage: bool, choices: int) -> Reader:
        """Return what reads one stream; its usage is part of its events."""
        return NamedEventReader(self)

    def count(self, name: bytes, data: bytes) -> Usage | None:
        """Return what an event says of the usage so far."""
        try:
            if name == b"message_start":
                return _usage(msgspec.json.decode(data, type=_MessageStart).message.usage)
            if name == b"message_delta":
                return _usage(msgspec.json.decode(data, type=_Message).usage)
        except UNREADABLE:
            return None
        return None

    def error_event(self, error: AirlockError) -> bytes:
        """Return the event that ends a stream which fails."""
        return b"event: error\ndata: " + anthropic_error_body(error) + EVENT_END


class TokenCount(Messages):
    """The dialect of `/v1/messages/count_tokens`: an answer for which no model ran."""

    def read_usage(self, body: bytes) -> Usage | None:
        """Return no usage; None when it is no answer."""
        try:
            msgspec.json.decode(body, type=_TokenCount)
        except UNREADABLE:
            return None
        return Usage()


class Embeddings:
    """The dialect of `/v1/embeddings`."""

    def read_usage(self, body: bytes) -> Usage | None:
        """Return the usage of a whole answer; None when it is no answer."""
        try:
            return Usage(msgspec.json.decode(body, type=_EmbeddingList).usage.prompt_tokens, 0)
        except UNREADABLE:
            return None

    def reader(self, *, forward_usage: bool, choices: int) -> Reader:
        """Never asked for: there are no streams."""
        raise NotImplementedError

    def error_event(self, error: AirlockError) -> bytes:
        """Never asked for: there are no streams."""
        raise NotImplementedError
