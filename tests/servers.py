"""A real uvicorn on a loopback port, in a thread, for tests that speak HTTP."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import uvicorn

from gateway.server import ServerProtocol

PLAIN = ssl.create_default_context()
"""For `httpx.request(…, verify=PLAIN)`: to make one for each request takes 20 ms of CPU."""


@contextlib.contextmanager
def serving(app, *, port: int = 0, lifespan: str = "on") -> Iterator[str]:
    """Serve an ASGI application; yield its address."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(
        app,
        http=ServerProtocol,
        ws="none",
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # As `airlock serve` does.
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive())
        assert server.started, "the server did not start"
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(15)
        listener.close()


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
