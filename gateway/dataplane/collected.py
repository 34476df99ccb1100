"""An answer for somebody who is not on a connection: a line of a batch."""

import asyncio
from typing import NamedTuple

from gateway.dataplane.answers import Usage
from gateway.dataplane.http import Event
from gateway.errors import AirlockError


class Answered(NamedTuple):
    """What a request was answered."""

    request_id: str
    status: int
    body: bytes
    error: AirlockError | None
    """Why `body` is an error's."""
    domains: frozenset[str]
    """The hazard domains that the checkpoint knows which has answered."""
    usage: Usage


class Collected:
    """Takes in an answer that is sent to it, and never leaves."""

    def __init__(self) -> None:
        """Start empty."""
        self.status = 0
        self._parts: list[bytes] = []

    @property
    def body(self) -> bytes:
        """What has come of the body."""
        return b"".join(self._parts)

    async def send(self, event: Event) -> None:
        """Take in an event of the answer."""
        if event["type"] == "http.response.start":
            self.status = event["status"]
        else:
            self._parts.append(event.get("body", b""))

    async def receive(self) -> Event:
        """Wait for ever: there is no connection that could end."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError
