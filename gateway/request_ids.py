"""The id of a request: what its caller is told, and what every line of the log about it says."""

import random
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.logs import CONTEXT

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def make_request_id() -> str:
    """Return a new id."""
    # It needs to be unique, not secret; a secret one costs 5 µs.
    return "req_" + random.randbytes(16).hex()  # noqa: S311


class RequestIds:
    """An ASGI application around another: its answers carry `x-request-id`, its log lines too."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request under an id of its own."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = make_request_id()
        head = (b"x-request-id", request_id.encode())

        async def send_with_id(event: MutableMapping[str, Any]) -> None:
            if event["type"] == "http.response.start":
                event = {**event, "headers": [*event["headers"], head]}
            await send(event)

        token = CONTEXT.set({"request_id": request_id})
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            CONTEXT.reset(token)
