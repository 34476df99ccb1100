"""A real uvicorn on a loopback port, in a thread, for tests that speak HTTP."""

import asyncio
import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence

import uvicorn

from gateway.server import ServerProtocol

PLAIN = ssl.create_default_context()
"""For `httpx.request(…, verify=PLAIN)`: to make one for each request takes 20 ms of CPU."""


class Server(uvicorn.Server):
    """uvicorn's in a thread, which ends when it is told to, not when it looks 0.1 s later."""

    def __init__(self, app, port: int, lifespan: str) -> None:
        """Start; it may not have started yet."""
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        super().__init__(
            uvicorn.Config(
                app,
                http=ServerProtocol,
                ws="none",
                lifespan=lifespan,
                log_config=None,
                access_log=False,
                proxy_headers=False,  # As `airlock serve` does.
                timeout_graceful_shutdown=2,
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()
        given = {"sockets": [self.listener]}
        self.thread = threading.Thread(target=self.run, kwargs=given, daemon=True)
        self.thread.start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        for tick in itertools.count():
            if await self.on_tick(tick):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), 0.1)

    def tell_to_end(self) -> None:
        """Have it end soon."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # It has ended already.
                self._loop.call_soon_threadsafe(self._told.set)


@contextlib.contextmanager
def serving(app, *, port: int = 0, lifespan: str = "on") -> Iterator[str]:
    """Serve an ASGI application; yield its address."""
    with serving_each([app], port=port, lifespan=lifespan) as (url,):
        yield url


@contextlib.contextmanager
def serving_each(
    apps: Sequence, *, port: int = 0, lifespan: str = "on"
) -> Iterator[tuple[str, ...]]:
    """Serve ASGI applications, which start and end side by side; yield their addresses."""
    servers: list[Server] = []
    try:
        servers.extend(Server(app, port, lifespan) for app in apps)
        for server in servers:
            wait_for(lambda one=server: one.started or not one.thread.is_alive())
            assert server.started, "the server did not start"
        yield tuple(f"http://127.0.0.1:{one.listener.getsockname()[1]}" for one in servers)
    finally:
        for server in servers:
            server.tell_to_end()
        for server in servers:
            server.thread.join(15)
            server.listener.close()


def free_port() -> int:
    """Return a port that nobody listens on now, for who must know it beforehand."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds: float = 10.0):
    """Return the condition's first true value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come true in time")
