"""How long a body may be that comes to the control plane, and how long it may take.

FastAPI has read a body before it asks who sends it: without bounds, anybody could fill a gateway's
memory, or its open files. Who takes a body in parts has bounds of their own.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import RequestTimeoutError, RequestTooLargeError

MAX_BODY_BYTES = 2 * 1024 * 1024
LONGER = {"/admin/v1/people-import": 16 * 1024 * 1024}
"""Bodies that may be longer, and take as much more time."""
BOUNDED_THEMSELVES = frozenset({"/v1/leaked-keys"})


class Bounded:
    """An ASGI application around another: it is given no body that is too long or too slow."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        """Wrap `app`; a body of the common length may take so many seconds."""
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; who reads beyond the bound gets an error, and answers with it."""
        if scope["type"] != "http" or scope["path"] in BOUNDED_THEMSELVES:
            await self._app(scope, receive, send)
            return
        most = LONGER.get(scope["path"], MAX_BODY_BYTES)
        seconds = self._seconds * most / MAX_BODY_BYTES
        left, is_whole = most, False
        ends_at = asyncio.get_running_loop().time() + seconds

        async def receive_so_much() -> Message:
            nonlocal left, is_whole
            try:
                # What comes after a body is that its caller leaves, whenever that may be.
                async with asyncio.timeout_at(None if is_whole else ends_at):
                    event = await receive()
            except TimeoutError as error:
                raise RequestTimeoutError(seconds) from error
            is_whole = not event.get("more_body", False)
            left -= len(event.get("body", b""))
            if left < 0:
                raise RequestTooLargeError(most)
            return event

        await self._app(scope, receive_so_much, send)
