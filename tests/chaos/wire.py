"""A wire between two parts that can be slow, held or cut, and knows what request went over it."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Literal

State = Literal["whole", "slow", "held", "cut"]
BLOCK_BYTES = 65_536
REQUEST_ID = re.compile(rb"\r\nx-request-id: (\S+)\r\n", re.IGNORECASE)
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Wire:
    """Passes connections to a port of its own on to another address."""

    def __init__(self, connect: Connect, *, delay_seconds: float = 0.02) -> None:
        """Pass on to what `connect` reaches; while slow, each block waits `delay_seconds`."""
        self._connect = connect
        self._delay_seconds = delay_seconds
        self._state: State = "whole"
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._connections: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task] = set()
        self.request_ids: set[str] = set()
        """The ids in the heads of HTTP requests that have passed."""

    async def start(self) -> int:
        """Listen; return the port."""
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def set(self, state: State) -> None:
        """Change, from any thread, what the wire does with what is sent from now on."""
        self._loop.call_soon_threadsafe(self._change, state)

    def _change(self, state: State) -> None:
        self._state = state
        if state == "held":
            self._is_open.clear()
        else:
            self._is_open.set()
        if state == "cut":
            for writer in self._connections:
                writer.transport.abort()

    async def close(self) -> None:
        """Listen no more, and cut what is open."""
        self._server.close()
        self._change("cut")
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        if self._state == "cut":
            writer.transport.abort()
            return
        self._connections.add(writer)
        try:
            await self._is_open.wait()
            far_reader, far_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            self._connections.discard(writer)
            return
        self._connections.add(far_writer)
        ways = (
            asyncio.ensure_future(self._pass(reader, far_writer, is_request=True)),
            asyncio.ensure_future(self._pass(far_reader, writer, is_request=False)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, far_writer):
                self._connections.discard(end)
                end.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(BLOCK_BYTES):
                if is_request:
                    self.request_ids.update(found.decode() for found in REQUEST_ID.findall(data))
                if self._state == "slow":
                    await asyncio.sleep(self._delay_seconds)
                await self._is_open.wait()
                writer.write(data)
                await writer.drain()


def to_port(port: int) -> Connect:
    """Return how to reach a port of this machine."""
    return lambda: asyncio.open_connection("127.0.0.1", port)


def to_socket(path: str) -> Connect:
    """Return how to reach a socket in the file system."""
    return lambda: asyncio.open_unix_connection(path)
