"""ASGI in a few words: reading a body within bounds, sending an answer, noticing who left."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, cast

from gateway.errors import (
    AirlockError,
    InvalidRequestError,
    RequestTimeoutError,
    RequestTooLargeError,
)
from gateway.http_errors import error_headers, http_error

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


class ClientGoneError(Exception):
    """The caller left; there is nobody to answer."""


READ = frozenset(
    (b"authorization", b"content-encoding", b"content-length", b"content-type", b"x-api-key")
)
"""The request headers that mean anything here."""


def read_headers(scope: Scope) -> dict[bytes, str]:
    """Return the request's headers, as far as they are read, by name.

    Raises:
        InvalidRequestError: One comes twice, so that two readers could understand two things.
    """
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in READ:
            if name in found:
                raise InvalidRequestError(f"The header '{name.decode()}' may come once only.")
            found[name] = value.decode("latin-1")
    return found


async def read_body(
    declared: str | None, receive: Receive, limit_bytes: int, timeout_seconds: float
) -> bytes:
    """Return the request's body.

    Args:
        declared: Its length, as the request's headers have it.
        receive: The server's.
        limit_bytes: How long it may be.
        timeout_seconds: How long it may take.

    Raises:
        RequestTooLargeError: It is longer than `limit_bytes`; what follows is not read.
        RequestTimeoutError: It took longer than `timeout_seconds`.
        ClientGoneError: The caller left.
    """
    if declared is not None and declared.isdecimal() and int(declared) > limit_bytes:
        raise RequestTooLargeError(limit_bytes)
    task = cast("asyncio.Task[object]", asyncio.current_task())
    # What `asyncio.timeout` does, for a third of its cost: nearly every body is there already.
    late: list[bool] = []
    timer = asyncio.get_running_loop().call_later(
        timeout_seconds, lambda: late.append(task.cancel())
    )
    try:
        return await _read_parts(receive, limit_bytes)
    except asyncio.CancelledError as error:
        if not late:
            raise
        task.uncancel()
        raise RequestTimeoutError(timeout_seconds) from error
    finally:
        timer.cancel()


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


def _start(status: int, headers: Mapping[str, str]) -> Event:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": fields}


async def send_start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """Send status and headers."""
    await send(_start(status, headers))


async def send_whole(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Send a whole answer."""
    await send(_start(status, {**headers, "content-length": str(len(body))}))
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send, error: AirlockError, headers: Mapping[str, str], body: bytes
) -> None:
    """Send an error, whose body is in the shape of the API that was called."""
    status = http_error(error).status
    await send_whole(send, status, {**headers, **error_headers(error)}, body)
