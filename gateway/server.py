"""uvicorn's HTTP protocol, with shorter ways for who answers thousands of requests a second.

HTTP and ASGI stay uvicorn's; every application can be served. A head leaves together with its body
(uvicorn writes them apart: two system calls, two packets and a caller that wakes twice), a
connection has one timer for all of its pauses, and a request to the data plane finds its `Exchange`
in its scope, whose methods do what ASGI does by messages and coroutines. What nobody has asked for
is bounded: a head's length, and how long an answer is kept for somebody who does not read it.
"""

import asyncio
import urllib.parse
from collections.abc import Callable
from typing import cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gateway.transport import JoiningTransport, keep_little_unsent

DATA_PLANE = "/v1"
"""How the paths begin whose requests find their exchange in the scope."""
EXCHANGE = "airlock.exchange"
"""Where in the scope."""
MANY_AHEAD = 16
"""With so many requests ahead of an answer, no more are read for now."""
MOST_AHEAD = 256
"""With so many, which one read can bring, the connection ends: each of them costs memory."""
MOST_HEAD_BYTES = 65_536
"""Of a head, or of what follows a body: anybody may send one, and it is in memory until its end."""
REFUSAL = (
    b"content-type: application/json\r\nconnection: close\r\n\r\n"
    b'{"error":{"message":"%b","type":"invalid_request_error","param":null,"code":"%b"}}'
)
"""Answers what is no request, and therefore in nobody's API; it ends with its connection."""


class Exchange(RequestResponseCycle):
    """One request and its answer, by ASGI's messages or by the methods here.

    An answer is begun by one or the other, and an error of before it by messages. What is written
    to a caller who has left goes nowhere, as with messages.
    """

    def __init__(self, protocol: "ServerProtocol", *, keep_alive: bool) -> None:
        """Begin with a request whose head is there; attributes are those of uvicorn's cycle."""
        self.scope = protocol.scope
        self.transport = protocol.transport
        self._write = protocol.write_now
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.access_logger = protocol.access_logger
        self.access_log = protocol.access_log
        self.default_headers = protocol.server_state.default_headers
        self.message_event = asyncio.Event()
        self.on_response = protocol.on_response_complete
        self.disconnected = False
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = protocol.expect_100_continue
        self.body = bytearray()
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self.chunked_encoding: bool | None = None
        self.expected_content_length = 0
        self.on_gone: Callable[[], None] | None = None
        """Called when the caller leaves before the answer's end."""
        self.on_flow: Callable[[bool], None] | None = None
        """Told when the caller reads more slowly than is written, and when it has caught up."""

    @property
    def is_paused(self) -> bool:
        """Whether so much waits to be read by the caller that no more should be written."""
        return self.flow.write_paused

    def body_now(self) -> bytes | None:
        """Return the request's body; None when it has not all come."""
        if self.more_body:
            return None
        # A long body, or a request that came ahead, has stopped reading; who leaves would not be
        # noticed any more.
        self.flow.resume_reading()
        return bytes(self.body)

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        """Write a whole answer; `fields` are lines, each with its end, without the length."""
        length = len(body)
        if self.scope["method"] == "HEAD":
            body = b""
        self._begin(status, b"%bcontent-length: %d\r\n" % (fields, length), body)
        self._end()

    def begin(self, status: int, fields: bytes, data: bytes) -> None:
        """Write a head and the first of the body, of which there will be more."""
        self.chunked_encoding = self.scope["http_version"] != "1.0"
        if self.chunked_encoding:
            fields += b"transfer-encoding: chunked\r\n"
            data = b"%x\r\n%b\r\n" % (len(data), data)
        # HTTP/1.0 has no chunks: the body ends with its connection.
        self._begin(status, fields, data)

    def write(self, data: bytes) -> None:
        """Write more of a body, at once."""
        if not self.disconnected:
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked_encoding else data)

    def end(self) -> None:
        """End the answer."""
        if not self.disconnected and self.chunked_encoding:
            self._write(b"0\r\n\r\n")
        self._end()

    async def drain(self) -> None:
        """Return when more should be written."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()

    def _begin(self, status: int, fields: bytes, data: bytes) -> None:
        if self.response_started:
            raise RuntimeError("this answer has begun already")
        self.response_started = True
        self.waiting_for_100_continue = False
        if not self.disconnected:
            close = b"" if self.keep_alive else b"connection: close\r\n"
            head = b"%b%b%b\r\n" % (STATUS_LINE[status], fields, close)
            self._write(head + data)

    def _end(self) -> None:
        if self.disconnected:
            return
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class ServerProtocol(HttpToolsProtocol):
    """uvicorn's protocol with such transports, timers and exchanges."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        keep_little_unsent(transport)
        self._joining = JoiningTransport(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", self._joining))
        self.write_now = self._joining.write_now
        self._answering: Exchange | None = None
        """uvicorn knows the newest request, which waits where requests come ahead of answers."""
        self._idle_since: float | None = self.loop.time()
        """Since when the head of a request is waited for."""
        self._is_held = False
        self._ahead_bytes = 0
        """Read since there was last a head or a part of a body."""
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._look)

    def data_received(self, data: bytes) -> None:
        """Parse what came, as uvicorn does (0.54), as long as it comes to something."""
        self._ahead_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(400, b"The request is no valid HTTP.", b"invalid_http")
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._unsupported_upgrade_warning()
        else:
            if self._ahead_bytes > MOST_HEAD_BYTES:
                message = b"The request's head has more than %d bytes." % MOST_HEAD_BYTES
                self._refuse(431, message, b"head_too_large")

    def _refuse(self, status: int, message: bytes, code: bytes) -> None:
        last = self._answering
        # While the answer to a whole request is awaited, what is written would be taken for it.
        if last is None or last.response_complete or (last.more_body and not last.response_started):
            self.transport.write(STATUS_LINE[status] + REFUSAL % (message, code))
        self.transport.close()

    def on_body(self, body: bytes) -> None:
        """Take in a part of a body, as uvicorn does."""
        self._ahead_bytes = 0
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way."""
        self._timer.cancel()
        super().connection_lost(exc)
        exchange = self._answering
        if exchange is None or exchange.response_complete:
            return
        exchange.disconnected = True
        exchange.message_event.set()
        if exchange.on_gone is not None:
            exchange.on_gone()

    def pause_writing(self) -> None:
        """Have the writer wait."""
        super().pause_writing()
        self._tell(is_paused=True)

    def resume_writing(self) -> None:
        """Have the writer go on."""
        super().resume_writing()
        self._joining.note_read()
        self._tell(is_paused=False)
        if self._is_held and not self.transport.is_closing():
            self._is_held = False
            self._go_on()

    def _tell(self, *, is_paused: bool) -> None:
        if self._answering is not None and self._answering.on_flow is not None:
            self._answering.on_flow(is_paused)

    def on_headers_complete(self) -> None:
        """Begin an exchange, as uvicorn begins its cycle (0.54; `tests/gateway/test_server.py`)."""
        version = self.parser.get_http_version()
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if self.parser.should_upgrade() and self._should_upgrade():
            return
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["path"] = self.root_path + (urllib.parse.unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + url.path
        scope["query_string"] = url.query or b""
        before = self.cycle
        # After a head that would upgrade, the parser takes the body for another request.
        is_kept = (
            version != "1.0"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
        )
        self._idle_since = None
        self._ahead_bytes = 0
        # What follows a chunked body looks like headers, and says nothing of whose request it is.
        self.headers = []
        self.cycle = exchange = Exchange(self, keep_alive=is_kept)
        if scope["path"].startswith(DATA_PLANE):
            cast("dict[str, object]", scope)[EXCHANGE] = exchange
        if before is None or (before.response_complete and not self._is_held):
            self._answering = exchange
            self._start_asgi_task(exchange, self.app)
        elif len(self.pipeline) < MOST_AHEAD:
            # With a few, reading goes on, or nobody would notice that the caller leaves.
            self.pipeline.appendleft((exchange, self.app))
            if len(self.pipeline) >= MANY_AHEAD:
                self.flow.pause_reading()
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self._go_on()

    def _go_on(self) -> None:
        if self.flow.write_paused:
            # Who does not read is not read from: `resume_writing` goes on.
            self._is_held = True
            self.flow.pause_reading()
            return
        if len(self.pipeline) < MANY_AHEAD:
            self.flow.resume_reading()
        if self.pipeline:
            waiting, app = self.pipeline.pop()
            self._answering = cast("Exchange", waiting)
            self._start_asgi_task(waiting, app)
        else:
            self._idle_since = self.loop.time()

    def _look(self) -> None:
        """Close a connection that has been idle for its time; a timer for each pause costs 2 µs."""
        now, since = self.loop.time(), self._idle_since
        if self._is_held or self.transport.is_closing():
            if self._joining.is_unread(now):
                # Neither it nor its connection would ever end.
                self._joining.abort()
            else:
                self._timer = self.loop.call_later(self.timeout_keep_alive, self._look)
            return
        due = now + self.timeout_keep_alive if since is None else since + self.timeout_keep_alive
        if due <= now:
            self.timeout_keep_alive_handler()
            due = now + self.timeout_keep_alive
        self._timer = self.loop.call_at(due, self._look)
