"""A program that takes webhooks, and can be slow, down, gone, or lead elsewhere."""

import asyncio
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response


class Received(NamedTuple):
    """One webhook that came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Keeps what it is sent; `mode` is ok, slow, elsewhere, or a status."""

    def __init__(self) -> None:
        self.mode: str | int = "ok"
        self.headers: dict[str, str] = {}
        """Of what it answers."""
        self.received: list[Received] = []

    async def __call__(self, scope, receive, send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        self.received.append(Received(request.url.path, dict(request.headers), body))
        status = self.mode if isinstance(self.mode, int) else 204
        response = Response(status_code=status, headers=self.headers)
        if self.mode == "slow":
            await asyncio.sleep(3)
        if self.mode == "elsewhere":
            response = RedirectResponse(f"http://{request.headers['host']}/inside", 307)
        await response(scope, receive, send)
