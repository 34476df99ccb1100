"""What engines answer: bodies and events pass byte for byte, and only their usage is read."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import msgspec

from gateway.errors import AirlockError
from gateway.http_errors import error_body

EVENT_END = b"\n\n"
DONE = b"data: [DONE]"
NO_CHOICES = b'"choices":[]'


class Usage(msgspec.Struct):
    """The engine's own count."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    choices: list[msgspec.Raw]
    usage: Usage | None = None


def _decode(body: bytes) -> _Answer | None:
    try:
        return msgspec.json.decode(body, type=_Answer)
    except msgspec.MsgspecError:
        return None


class Events(NamedTuple):
    """Events that are complete, and whether the stream has said that it is done."""

    forward: bytes
    is_done: bool


class Reader(Protocol):
    """Reads one stream of server-sent events as it passes."""

    usage: Usage
    """What the engine has counted so far."""

    def feed(self, data: bytes) -> Events:
        """Take in bytes; return the whole events among them and what was left before."""


class Dialect(Protocol):
    """How the answers of an endpoint are read: every API counts and ends in its own way."""

    def read_usage(self, body: bytes) -> Usage | None:
        """Return the usage of a whole answer; None when it is no answer."""

    def reader(self, *, forward_usage: bool) -> Reader:
        """Return what reads one stream."""

    def error_event(self, error: AirlockError) -> bytes:
        """Return the event that ends a stream which fails once it has begun."""


class EventReader:
    """Cuts a stream of server-sent events at event boundaries, without parsing them.

    The gateway asks for the last chunk, with the usage and no choices, in every stream; it is
    passed on only to callers who asked for it themselves.
    """

    def __init__(self, *, forward_usage: bool) -> None:
        """Read one stream."""
        self._forward_usage = forward_usage
        self._rest = b""
        self.usage = Usage()

    def feed(self, data: bytes) -> Events:
        """Take in bytes; return the whole events among them and what was left before."""
        data = self._rest + data
        end = data.rfind(EVENT_END)
        if end < 0:
            self._rest = data
            return Events(b"", is_done=False)
        whole, self._rest = data[: end + 2], data[end + 2 :]
        is_done = DONE in whole and any(event == DONE for event in _split(whole))
        if NO_CHOICES in whole:
            whole = b"".join(event + EVENT_END for event in _split(whole) if self._keeps(event))
        return Events(whole, is_done)

    def _keeps(self, event: bytes) -> bool:
        if NO_CHOICES not in event:
            return True
        chunk = _decode(event.removeprefix(b"data: "))
        if chunk is None or chunk.choices or chunk.usage is None:
            return True
        self.usage = chunk.usage
        return self._forward_usage


class Completions:
    """The dialect of `/v1/chat/completions` and `/v1/completions`."""

    def read_usage(self, body: bytes) -> Usage | None:
        """Return the usage of a whole answer; None when it is no answer."""
        answer = _decode(body)
        return None if answer is None else answer.usage or Usage()

    def reader(self, *, forward_usage: bool) -> Reader:
        """Return what reads one stream."""
        return EventReader(forward_usage=forward_usage)

    def error_event(self, error: AirlockError) -> bytes:
        """Return the event that ends a stream which fails; no `[DONE]` follows."""
        return b"data: " + error_body(error) + EVENT_END


def _split(events: bytes) -> Iterator[bytes]:
    return (event for event in events.split(EVENT_END) if event)
