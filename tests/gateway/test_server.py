"""The head of an answer leaves with what follows it, and never waits for long."""

import asyncio
import socket
import threading

import pytest
import uvicorn

from gateway.server import ServerProtocol
from tests.servers import wait_for

HELD = threading.Event()


async def application(scope, receive, send):
    """Answer at once, or send the body only after the head has arrived."""
    if scope["type"] != "http":
        return
    length = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    if scope["path"] == "/slow":
        await asyncio.to_thread(HELD.wait, 5)
    await send({"type": "http.response.body", "body": b"body"})


@pytest.fixture(scope="module")
def address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            application, loop="uvloop", http=ServerProtocol, log_config=None, lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started)
        yield listener.getsockname()
        server.should_exit = True
        thread.join(10)


def ask(address, line: str) -> socket.socket:
    connection = socket.create_connection(address, timeout=10)
    connection.sendall(f"{line} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    return connection


def test_head_and_body_arrive_together(address):
    with ask(address, "GET /") as connection:
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nbody")


def test_a_head_does_not_wait_for_a_body_that_is_late(address):
    HELD.clear()
    with ask(address, "GET /slow") as connection:
        head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head.endswith(b"\r\n\r\n")
        HELD.set()
        assert connection.recv(65536) == b"body"


def test_an_answer_that_has_only_a_head(address):
    with ask(address, "HEAD /") as connection:
        assert connection.recv(65536).endswith(b"\r\n\r\n")


def test_answers_of_one_connection_keep_their_order(address):
    with ask(address, "GET /") as connection:
        connection.recv(65536)
        for _ in range(20):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = connection.recv(65536)
            assert answer.count(b"HTTP/1.1 200 OK") == 1
            assert answer.endswith(b"body")
