"""An answer for somebody who is not on a connection: a line of a batch."""

from collections.abc import Callable
from typing import NamedTuple

from gateway.dataplane.answers import Usage
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
    """Takes in an answer that is written to it, and never leaves: it is on no connection."""

    def __init__(self) -> None:
        """Start empty."""
        self.disconnected = self.is_paused = False
        self.status = 0
        self.body = b""
        self.on_gone: Callable[[], None] | None = None
        self.on_flow: Callable[[bool], None] | None = None

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        """Take in an answer."""
        self.status, self.body = status, body

    def begin(self, status: int, fields: bytes, data: bytes) -> None:
        """Never asked for: a batch's answers are no streams."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Never asked for."""
        raise NotImplementedError

    def end(self) -> None:
        """Never asked for."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Never asked for."""
        raise NotImplementedError
