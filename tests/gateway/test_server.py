"""What our protocol does beside uvicorn's: heads that leave with bodies, timers, exchanges."""

import asyncio
import contextlib
import gc
import hashlib
import inspect
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway import transport
from gateway.exchange import EXCHANGE, Exchange
from gateway.server import MOST_AHEAD, MOST_HEAD_BYTES, ServerProtocol
from gateway.transport import UNREAD_SECONDS, UNSENT_BYTES, JoiningTransport
from tests.servers import wait_for

HELD = threading.Event()
ASKED = threading.Event()
GONE = threading.Event()
KEPT_SECONDS = 1
LONG_ANSWER_BYTES = 16_000_000
"""More than the kernel keeps for a caller that does not read."""


async def application(scope, receive, send):
    """Answer at once, or send the body only after the head has arrived."""
    if scope["type"] != "http":
        return
    if scope["path"].startswith("/v1"):
        await by_exchange(scope[EXCHANGE], scope["path"])
        return
    length = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    if scope["path"] == "/slow":
        await asyncio.to_thread(HELD.wait, 5)
    await send({"type": "http.response.body", "body": b"body"})


async def by_exchange(exchange, path):
    """Answer as the data plane does."""
    if exchange.body_now() is None:
        while (await exchange.receive())["more_body"] and path != "/v1/early":
            pass
    if path == "/v1/headers":
        names = [name for name, _ in exchange.scope["headers"]]
        exchange.whole(200, b"", b" ".join(names))
    elif path == "/v1/long":
        exchange.whole(200, b"", bytes(LONG_ANSWER_BYTES))
    elif path == "/v1/whole":
        exchange.whole(200, b"x-a: b\r\n", b"body")
    elif path == "/v1/busy":
        ASKED.set()
        HELD.wait(10)  # Nobody else is read from meanwhile.
        exchange.whole(200, b"", b"body")
    elif path == "/v1/early":
        exchange.whole(413, b"", b"no")
    elif path == "/v1/late":
        exchange.on_gone = GONE.set
        ASKED.set()
        await asyncio.to_thread(HELD.wait, 10)
        exchange.whole(200, b"", b"body")
    else:
        exchange.begin(200, b"x-a: b\r\n", b"one ")
        exchange.write(b"two")
        exchange.end()


@pytest.fixture(scope="module")
def address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            application,
            loop="uvloop",
            http=ServerProtocol,
            log_config=None,
            lifespan="off",
            timeout_keep_alive=KEPT_SECONDS,
            ws="none",
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


def test_answers_to_requests_that_were_read_together_leave_together(address, monkeypatch):
    noted = []

    def noting(word, act):
        def note(*given):
            noted.append(word)
            act(*given)

        return note

    monkeypatch.setattr(Exchange, "whole", noting("made", Exchange.whole))
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection(address, 10)) for _ in range(3)]
        for caller in callers:
            joining = wait_for(lambda caller=caller: protocol_of(caller))._joining
            joining._write = noting("sent", joining._write)
        HELD.clear()
        ASKED.clear()
        for caller, path in zip(callers, ("busy", "whole", "whole"), strict=True):
            caller.sendall(f"GET /v1/{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert ASKED.wait(10)
        HELD.set()
        for caller in callers:
            assert caller.recv(65536).endswith(b"body")
    assert noted == ["made", "sent", "made", "made", "sent", "sent"]


@pytest.mark.parametrize(("method", "body"), [("GET", b"body"), ("HEAD", b"")])
def test_a_whole_answer_of_an_exchange(address, method, body):
    with ask(address, f"{method} /v1/whole") as connection:
        head, _, rest = connection.recv(65536).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[:3] == [b"HTTP/1.1 200 OK", b"x-a: b", b"content-length: 4"]
    assert [line.split(b":")[0] for line in lines[3:]] == [b"date", b"server"], "uvicorn's own"
    assert rest == body


@pytest.mark.parametrize("path", ["/", "/v1/whole", "/v1/parts"])
def test_who_has_said_all_there_is_to_say_is_answered(address, path):
    """The transport closes by itself when the caller's side is closed, and takes nothing after."""
    for _ in range(20):
        with contextlib.ExitStack() as stack:
            several = [stack.enter_context(ask(address, f"GET {path}")) for _ in range(4)]
            for connection in several:
                connection.shutdown(socket.SHUT_WR)
            for connection in several:
                answer = b""
                while part := connection.recv(65536):
                    answer += part
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                assert b"body" in answer or b"two" in answer


def test_an_exchange_says_when_its_connection_ends(address):
    line = "GET /v1/parts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answer = b""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(line.encode())
        while part := connection.recv(65536):
            answer += part
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert rest == b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"


def test_the_word_to_go_on_comes_before_the_answer(address):
    """The body's first part is there already, so that nothing waits between the two."""
    head = b"POST /v1/early HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head + b"content-length: 9\r\n\r\nx")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 ")


LONG = b"POST /v1/late HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000
AHEAD = b"GET /v1/late HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize("request_", [LONG, AHEAD], ids=["long", "ahead"])
def test_a_caller_that_leaves_is_noticed_whatever_came_before(address, request_):
    GONE.clear()
    HELD.clear()
    ASKED.clear()
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(request_)
        assert ASKED.wait(10)
    assert GONE.wait(10)
    HELD.set()


def test_only_an_idle_connection_is_closed_after_its_time(address):
    HELD.clear()
    with ask(address, "GET /v1/late") as busy, ask(address, "GET /") as idle:
        idle.recv(65536)
        assert idle.recv(65536) == b"", "it is closed"
        time.sleep(KEPT_SECONDS)
        HELD.set()
        assert busy.recv(65536).endswith(b"body")


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nho", b"whole"])
def test_a_connection_on_which_no_head_comes_is_closed(address, said):
    with socket.create_connection(address, timeout=10) as connection:
        if said == b"whole":
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            connection.recv(65536)
            said = b"G"
        connection.sendall(said)
        assert connection.recv(65536) == b"", "it is closed"


@pytest.mark.parametrize("to", [b"h2c", b"websocket"])
def test_a_body_after_an_upgrade_is_no_request(address, to):
    hidden = b"GET /v1/whole HTTP/1.1\r\nhost: x\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, upgrade\r\nupgrade: %b\r\n" % to
    answer = b""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head + b"content-length: %d\r\n\r\n" % len(hidden))
        time.sleep(0.2)
        with contextlib.suppress(OSError):
            connection.sendall(hidden)
            while part := connection.recv(65536):
                answer += part
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"x-a: b" not in answer


def protocol_of(connection: socket.socket) -> ServerProtocol | None:
    mine = connection.getsockname()
    for one in gc.get_objects():
        if type(one) is ServerProtocol and one.client == mine:
            return one
    return None


def flood(connection: socket.socket, blocks: int) -> None:
    """Ask for more than is read, until nothing is taken any more."""
    connection.settimeout(1)
    with contextlib.suppress(OSError):
        for _ in range(blocks):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
            time.sleep(0.01)


def test_who_reads_nothing_has_a_bounded_part_of_memory(address):
    with socket.create_connection(address, timeout=10) as connection:
        protocol = wait_for(lambda: protocol_of(connection))
        flood(connection, 300)
        assert len(protocol.pipeline) <= MOST_AHEAD
        assert protocol._joining._transport.get_write_buffer_size() < 200_000


def test_requests_ahead_of_an_answer_are_few(address):
    HELD.clear()
    with ask(address, "GET /v1/late") as connection:
        protocol = wait_for(lambda: protocol_of(connection))
        flood(connection, 300)
        assert len(protocol.pipeline) <= MOST_AHEAD
    HELD.set()


def test_many_requests_ahead_are_all_answered(address):
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
        answer = b""
        while answer.count(b"body") < 100:
            answer += connection.recv(65536)
    assert answer.count(b"HTTP/1.1 200 OK") == 100


def test_a_stream_to_a_caller_that_knows_no_chunks(address):
    answer = b""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"GET /v1/parts HTTP/1.0\r\n\r\n")
        while part := connection.recv(65536):
            answer += part
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert rest == b"one two"


def test_what_follows_a_chunked_body_is_no_header(address):
    head = b"POST /v1/headers HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head + b"1\r\nx\r\n0\r\nauthorization: Bearer y\r\n\r\n")
        assert connection.recv(65536).endswith(b"\r\n\r\nhost transfer-encoding")


def test_what_is_no_http_behind_a_request_is_not_taken_for_its_answer(address):
    HELD.clear()
    ASKED.clear()
    with ask(address, "GET /v1/late") as connection:
        assert ASKED.wait(10)
        connection.sendall(b"\x00\r\n\r\n")
        assert connection.recv(65536) == b""
    HELD.set()


def test_a_body_that_is_no_http_is_refused(address):
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(BODY_BEGUN)
        connection.sendall(b"zz\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


MANY = 200 * MOST_HEAD_BYTES
BODY_BEGUN = b"POST /v1/late HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
ENDLESS = {
    "path": b"GET /",
    "name": b"GET / HTTP/1.1\r\n",
    "header": b"GET / HTTP/1.1\r\nhost: ",
    "behind an answer": b"GET /v1/whole HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: ",
    "extension": BODY_BEGUN + b"1;",
    "trailer": BODY_BEGUN + b"0\r\nhost: ",
}


@pytest.mark.parametrize("begun", list(ENDLESS.values()), ids=list(ENDLESS))
def test_a_head_without_an_end_is_not_kept(address, begun):
    with socket.create_connection(address, timeout=10) as connection:
        protocol = wait_for(lambda: protocol_of(connection))
        with contextlib.suppress(OSError):  # It is hung up on, and not heard to the end.
            connection.sendall(begun + b"x" * MANY)
        wait_for(protocol.transport.is_closing)
        assert protocol._ahead_bytes < MANY // 10


def test_many_headers_are_served_as_long_as_they_are_not_too_many(address):
    fields = b"x-a: " + b"b" * 1000 + b"\r\n"
    with socket.create_connection(address, timeout=10) as connection:
        for count in (50, 50, MANY // len(fields)):
            head = b"GET / HTTP/1.1\r\nhost: x\r\n" + fields * count
            with contextlib.suppress(OSError):
                connection.sendall(head)
                time.sleep(0.1)
                connection.sendall(b"\r\n")
            if count == 50:
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        with contextlib.suppress(OSError):
            assert connection.recv(65536).startswith(b"HTTP/1.1 431 ")


def test_what_is_no_http_is_refused_in_the_apis_shape(address):
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"\x00\r\n\r\n")
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
        assert connection.recv(1) == b""
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head
    assert json.loads(body)["error"]["code"] == "invalid_http"


@pytest.mark.parametrize("line", ["GET /v1/long HTTP/1.1", "GET /v1/long HTTP/1.0"])
def test_an_answer_that_nobody_reads_is_not_kept_for_ever(address, line, monkeypatch):
    monkeypatch.setattr(transport, "UNREAD_SECONDS", 0.5)
    with socket.create_connection(address, timeout=10) as connection:
        protocol = wait_for(lambda: protocol_of(connection))
        connection.sendall(f"{line}\r\nhost: x\r\n\r\n".encode())
        wait_for(lambda: protocol.cycle is not None and protocol.cycle.response_complete)
        assert protocol._joining._transport.get_write_buffer_size() > 0
        wait_for(lambda: protocol.parser is None)


def test_an_answer_that_is_read_slowly_is_waited_for():
    """Only what no byte is read of for long is thrown away; looks come some seconds apart."""
    unread = 0
    written = SimpleNamespace(get_write_buffer_size=lambda: unread)
    for name in ("write", "is_closing", "get_extra_info", "set_protocol", "abort"):
        setattr(written, name, None)
    written.pause_reading = written.resume_reading = None
    joining = JoiningTransport(written, SimpleNamespace(add=None))
    now = 1000.0
    for unread in (0, 900, 800, 700, 700, 600):  # noqa: B007
        now += 0.9 * UNREAD_SECONDS
        assert not joining.is_unread(now)
    assert not joining.is_unread(now + 0.9 * UNREAD_SECONDS)
    assert joining.is_unread(now + UNREAD_SECONDS)
    joining.note_read()
    assert not joining.is_unread(now + 3 * UNREAD_SECONDS), "another answer"


def test_what_is_read_is_seen_as_it_happens(address):
    """Else the kernel takes megabytes, and who reads slowly seems not to read at all."""
    with socket.create_connection(address, timeout=10) as connection:
        protocol = wait_for(lambda: protocol_of(connection))
        of_server = protocol.transport.get_extra_info("socket")
        assert of_server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES
        protocol._joining._unread_bytes = 1
        protocol.pause_writing()
        protocol.resume_writing()
        assert protocol._joining._unread_bytes == 0, "it is not held against the next answer"


TAKEN = {
    HttpToolsProtocol.data_received: "010a7ae59a5d3b1a",
    HttpToolsProtocol.on_body: "dba9c32aeba35b6a",
    HttpToolsProtocol.on_headers_complete: "1ea8589acfad92d8",
    HttpToolsProtocol.on_response_complete: "64e254f28e389e76",
    RequestResponseCycle.__init__: "4d2f220910c33c12",
}


@pytest.mark.parametrize("function", list(TAKEN), ids=lambda function: function.__qualname__)
def test_what_stands_in_for_uvicorns_own_is_compared_with_it_when_that_changes(function):
    """Read the new one, carry over what matters to `gateway/server.py`, then note its hash."""
    found = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]
    assert found == TAKEN[function]
