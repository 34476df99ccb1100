"""Keep-alive connections to engines, a list for each address."""

import asyncio
import ssl
from urllib.parse import urlsplit

from gateway.dataplane.catalogue import EngineAddress
from gateway.dataplane.connection import EngineConnection
from gateway.settings import Settings

IDLE_SECONDS = 4.0
"""vLLM's server closes idle connections after five seconds; one must not race it."""


class Lines:
    """One engine's connections; the one that was used last is used first."""

    def __init__(self, url: str) -> None:
        """Start with none."""
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._ssl else 80)
        self._loop = asyncio.get_running_loop()
        self._idle: list[EngineConnection] = []
        self.host_header = parts.netloc

    def idle(self) -> EngineConnection | None:
        """Return a connection that is open and was used a moment ago; None when there is none."""
        oldest = self._loop.time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    async def connect(self, timeout_seconds: float) -> EngineConnection:
        """Return a new connection.

        Raises:
            OSError: The engine cannot be reached.
            TimeoutError: It cannot be reached in time.
        """
        async with asyncio.timeout(timeout_seconds):
            _, connection = await self._loop.create_connection(
                lambda: EngineConnection(self._idle.append, self._forget),
                self._host,
                self._port,
                ssl=self._ssl,
            )
        return connection

    def _forget(self, connection: EngineConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


class Connections:
    """Every engine's connections."""

    def __init__(self, settings: Settings) -> None:
        """Start with none."""
        self._connect_seconds = settings.connect_timeout_seconds
        self._lines: dict[str, Lines] = {}

    def lines(self, address: EngineAddress) -> Lines:
        """Return an engine's connections."""
        lines = self._lines.get(address.url)
        if lines is None:
            lines = self._lines[address.url] = Lines(address.url)
        return lines

    async def connect(self, address: EngineAddress) -> EngineConnection:
        """Return a new connection to an engine.

        Raises:
            OSError: The engine cannot be reached.
            TimeoutError: It cannot be reached in time.
        """
        return await self.lines(address).connect(self._connect_seconds)

    def close(self) -> None:
        """Close every idle connection."""
        for lines in self._lines.values():
            lines.close()
