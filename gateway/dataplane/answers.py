"""What engines answer: bodies and events pass byte for byte, and only their usage is read."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import msgspec

from gateway.errors import AirlockError
from gateway.http_errors import error_body

EVENT_END = b"\n\n"
DONE = b"data: [DONE]"
NO_CHOICES = b'"choices":[]'
USAGE = b',"usage":{'
INDEX = b'"choices":[{"index":'
FAULT = b'data: {"error"'
"""How an engine's own account of a fault begins; vLLM says `[DONE]` after it all the same."""
MAX_EVENT_BYTES = 64 * 1024 * 1024
"""What has no end by then is no event, and is not kept."""
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for what is not the JSON that is wanted, or none at all."""


class Usage(msgspec.Struct):
    """The engine's own count."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Fault(msgspec.Struct):
    message: str = ""
    code: int = 500


class _FaultEvent(msgspec.Struct):
    error: _Fault


class _Answer(msgspec.Struct):
    choices: list[msgspec.Raw]
    usage: Usage | None = None


def _decode(body: bytes) -> _Answer | None:
    try:
        return msgspec.json.decode(body, type=_Answer)
    except UNREADABLE:
        return None


class Events(NamedTuple):
    """Events that are complete, and whether the stream has said that it is done."""

    forward: bytes
    is_done: bool


NOTHING = Events(b"", is_done=False)


class Reader(Protocol):
    """Reads one stream of server-sent events as it passes."""

    @property
    def usage(self) -> Usage:
        """What the engine has counted so far."""

    @property
    def refusal(self) -> str | None:
        """Why the engine finds the request itself wrong, where it has said so in its stream."""

    @property
    def has_spoken(self) -> bool:
        """Whether the model has said anything: what is wrong with a request shows before."""

    def feed(self, data: bytes) -> Events:
        """Take in bytes; return the whole events among them and what was left before."""


class Dialect(Protocol):
    """How the answers of an endpoint are read: every API counts and ends in its own way."""

    def read_usage(self, body: bytes) -> Usage | None:
        """Return the usage of a whole answer; None when it is no answer."""

    def reader(self, *, forward_usage: bool, choices: int) -> Reader:
        """Return what reads one stream, in which every prompt has so many choices."""

    def error_event(self, error: AirlockError) -> bytes:
        """Return the event that ends a stream which fails once it has begun."""


class EventReader:
    """Cuts a stream of server-sent events at event boundaries, without parsing them.

    The gateway asks for the usage in every event, so that it is known whenever a stream ends, and
    takes it out again: the last chunk, with no choices, is for callers who asked for it themselves,
    and the others are as an engine sends them that was not asked.

    Of an engine's fault nothing is passed on, and a stream that held one is never done.
    """

    def __init__(self, *, forward_usage: bool, choices: int = 1) -> None:
        """Read one stream, in which every prompt has so many choices."""
        self._forward_usage = forward_usage
        self._choices = choices
        self._rest = b""
        self._told: dict[bytes, bytes] = {}
        """The newest usage of each choice, as it came: only the last is ever parsed."""
        self._total: Usage | None = None
        self._has_failed = False
        self.refusal: str | None = None

    @property
    def usage(self) -> Usage:
        """What the engine has counted so far: its total, or the sum over prompts and choices."""
        if self._total is not None:
            return self._total
        prompts: dict[int, int] = {}
        completion_tokens = 0
        for index, told in self._told.items():
            try:
                usage = msgspec.json.decode(told, type=Usage)
                prompt = int(index.partition(b",")[0]) // self._choices
            except (ValueError, *UNREADABLE):
                continue
            prompts[prompt] = usage.prompt_tokens
            completion_tokens += usage.completion_tokens
        return Usage(sum(prompts.values()), completion_tokens)

    @property
    def has_spoken(self) -> bool:
        """Whether the model has said anything: each of its words comes with a usage."""
        return bool(self._told)

    def feed(self, data: bytes) -> Events:
        """Take in bytes; return the whole events among them and what was left before."""
        if self._has_failed:
            return NOTHING
        if self._rest:
            data, self._rest = self._rest + data, b""
        end = data.rfind(EVENT_END)
        if end < 0:
            self._has_failed = len(data) > MAX_EVENT_BYTES
            self._rest = b"" if self._has_failed else data
            return NOTHING
        if end + 2 == len(data):  # Engines write whole events.
            whole = data
        else:
            whole, self._rest = data[: end + 2], data[end + 2 :]
        is_one = whole.find(EVENT_END) == end  # It mostly is one event.
        if whole.startswith(FAULT) or (not is_one and FAULT in whole):
            whole, is_one = self._before_fault(whole), False
        is_done = DONE in whole and any(event == DONE for event in _split(whole))
        if USAGE in whole:
            if is_one:
                whole = self._without_usage(whole)
            else:
                events = [event + EVENT_END for event in _split(whole)]
                whole = b"".join([self._without_usage(event) for event in events])
        return Events(whole, is_done)

    def _before_fault(self, events: bytes) -> bytes:
        kept = []
        for event in _split(events):
            if event.startswith(FAULT):
                self._has_failed, self.refusal = True, _refusal(event)
                break
            kept.append(event + EVENT_END)
        return b"".join(kept)

    def _without_usage(self, event: bytes) -> bytes:
        # Within a JSON string the quotation marks would be escaped: this can only be a field.
        at = event.rfind(USAGE)
        if at < 0:
            return event
        if NO_CHOICES in event:
            chunk = _decode(event.removeprefix(b"data: "))
            if chunk is not None and not chunk.choices and chunk.usage is not None:
                self._total = chunk.usage
                return event if self._forward_usage else b""
        inside = at + len(USAGE)
        end = event.find(b"}", inside) + 1
        if event.find(b"{", inside, end) >= 0:  # It has parts.
            while event.count(b"{", at, end) > event.count(b"}", at, end):
                end = event.find(b"}", end) + 1
        if end == 0:  # It is no JSON; whoever reads it will say so.
            return event
        place = event.find(INDEX) + len(INDEX)
        # A few bytes, which begin with the index and its comma, tell choices apart.
        self._told[event[place : place + 8]] = event[inside - 1 : end]
        return event[:at] + event[end:]


class Completions:
    """The dialect of `/v1/chat/completions` and `/v1/completions`."""

    def read_usage(self, body: bytes) -> Usage | None:
        """Return the usage of a whole answer; None when it is no answer."""
        answer = _decode(body)
        return None if answer is None else answer.usage or Usage()

    def reader(self, *, forward_usage: bool, choices: int) -> Reader:
        """Return what reads one stream."""
        return EventReader(forward_usage=forward_usage, choices=choices)

    def error_event(self, error: AirlockError) -> bytes:
        """Return the event that ends a stream which fails; no `[DONE]` follows."""
        return b"data: " + error_body(error) + EVENT_END


def _refusal(event: bytes) -> str | None:
    """Return why an engine refuses a request; None where the fault is the engine's.

    vLLM checks a schema, a grammar or token ids only when a stream has begun.
    """
    try:
        fault = msgspec.json.decode(event.removeprefix(b"data: "), type=_FaultEvent).error
    except UNREADABLE:
        return None
    return fault.message if 400 <= fault.code < 500 else None


def _split(events: bytes) -> Iterator[bytes]:
    return (event for event in events.split(EVENT_END) if event)
