"""HTTP in a few words: reading a body within bounds, and whom an answer is written to."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from gateway.errors import (
    AirlockError,
    InvalidRequestError,
    RequestTimeoutError,
    RequestTooLargeError,
)
from gateway.exchange import EXCHANGE, Exchange
from gateway.http_errors import error_headers, http_error

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


class ClientGoneError(Exception):
    """The caller left; there is nobody to answer."""


class Recipient(Protocol):
    """Whom an answer is written to: a caller on a connection, or a line of a batch."""

    on_gone: Callable[[], None] | None
    """Called when it leaves before the answer's end."""
    on_flow: Callable[[bool], None] | None
    """Told when it takes less than is written, and when it has caught up."""

    @property
    def disconnected(self) -> bool:
        """Whether it has left."""

    @property
    def is_paused(self) -> bool:
        """Whether no more should be written now."""

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        """Write a whole answer; `fields` are the lines of its head, without the length."""

    def begin(self, status: int, fields: bytes, data: bytes) -> None:
        """Write a head and the first of the body, of which there will be more."""

    def write(self, data: bytes) -> None:
        """Write more of the body, at once."""

    def end(self) -> None:
        """End the answer."""

    async def drain(self) -> None:
        """Return when more should be written."""


def exchange_of(scope: Scope) -> Exchange:
    """Return the request's exchange, which `gateway.server` has put into its scope."""
    exchange: Exchange = scope[EXCHANGE]
    return exchange


HEADERS = "airlock.headers"
"""Where a scope keeps its headers by name: they are asked for one after another."""
TWICE = b"twice"
"""Itself, no equal value, stands there for those of a name that came more than once."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return a request header, or None.

    Raises:
        InvalidRequestError: It comes twice, so that two readers could understand two things.
    """
    known: dict[bytes, bytes] | None = scope.get(HEADERS)
    if known is None:
        known = scope[HEADERS] = _by_name(scope["headers"])
    value = known.get(name)
    if value is None:
        return None
    if value is TWICE:
        raise InvalidRequestError(f"The header '{name.decode()}' may come once only.")
    return value.decode("latin-1")


def _by_name(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    known = dict(headers)
    if len(known) != len(headers):
        count = Counter(name for name, _ in headers)
        known |= {name: TWICE for name, times in count.items() if times > 1}
    return known


def whole_body(scope: Scope, limit_bytes: int) -> bytes | None:
    """Return the request's body; None when it has not all come.

    Raises:
        RequestTooLargeError: It is longer than `limit_bytes`.
    """
    body = exchange_of(scope).body_now()
    if body is not None and len(body) > limit_bytes:
        raise RequestTooLargeError(limit_bytes)
    return body


async def read_body(
    scope: Scope, receive: Receive, limit_bytes: int, timeout_seconds: float
) -> bytes:
    """Return the request's body.

    Raises:
        RequestTooLargeError: It is longer than `limit_bytes`; what follows is not read.
        RequestTimeoutError: It took longer than `timeout_seconds`.
        ClientGoneError: The caller left.
    """
    body = whole_body(scope, limit_bytes)
    if body is not None:
        return body
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdecimal() and int(declared) > limit_bytes:
        raise RequestTooLargeError(limit_bytes)
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _read_parts(receive, limit_bytes)
    except TimeoutError as error:
        raise RequestTimeoutError(timeout_seconds) from error


async def _read_parts(receive: Receive, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGoneError
        part = event.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise RequestTooLargeError(limit_bytes)
        parts.append(part)
        if not event.get("more_body", False):
            return part if len(parts) == 1 else b"".join(parts)


async def send_start(send: Send, status: int, lines: str) -> None:
    """Send status and headers, which are the lines of a head."""
    fields = [
        (name, value)
        for line in lines.encode("latin-1").splitlines()
        for name, _, value in [line.partition(b": ")]
    ]
    await send({"type": "http.response.start", "status": status, "headers": fields})


async def send_part(send: Send, part: bytes, seconds: float, *, is_last: bool = False) -> None:
    """Send a part of a body, once the caller has read what went before.

    Raises:
        ClientGoneError: They have not for so many seconds.
    """
    try:
        async with asyncio.timeout(seconds):
            await send({"type": "http.response.body", "body": part, "more_body": not is_last})
    except TimeoutError as error:
        raise ClientGoneError from error


def write_error(to: Recipient, error: AirlockError, lines: str, body: bytes) -> None:
    """Write an error, whose body is in the shape of the API that was called.

    Raises:
        ValueError: One of its headers would be more than a line.
    """
    own = error_headers(error)
    text = "".join([f"{name}: {value}\r\n" for name, value in own.items()])
    check_lines(text, len(own))
    to.whole(http_error(error).status, (lines + text).encode("latin-1"), body)


def check_lines(text: str, count: int) -> None:
    """Refuse to write what would be other headers than it says.

    Raises:
        ValueError: The text is not so many lines of a head.
    """
    if text.count("\n") != count or text.count("\r") != count:
        raise ValueError("a header is one line")
