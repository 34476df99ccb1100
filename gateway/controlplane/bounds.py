"""How long a body may be that comes to the control plane.

FastAPI has read a body before it asks who sends it: without a bound, anybody could fill a
gateway's memory. Paths that take their bodies in parts have bounds of their own.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.errors import RequestTooLargeError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
MAX_BODY_BYTES = 2 * 1024 * 1024
BOUNDED_THEMSELVES = ("/admin/v1/people-import", "/v1/leaked-keys")


class Bounded:
    """An ASGI application around another: it is given no body that is too long."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; who reads beyond the bound gets an error, and answers with it."""
        if scope["type"] != "http" or scope["path"] in BOUNDED_THEMSELVES:
            await self._app(scope, receive, send)
            return
        left = MAX_BODY_BYTES

        async def receive_so_much() -> MutableMapping[str, Any]:
            nonlocal left
            event = await receive()
            left -= len(event.get("body", b""))
            if left < 0:
                raise RequestTooLargeError(MAX_BODY_BYTES)
            return event

        await self._app(scope, receive_so_much, send)
