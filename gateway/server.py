"""uvicorn's HTTP protocol, with shorter ways for who answers thousands of requests a second.

HTTP and ASGI stay uvicorn's; every application can be served. A head leaves together with its body
(uvicorn writes them apart: two system calls, two packets and a caller that wakes twice), a
connection has one timer for all of its pauses, and a request to the data plane finds its `Exchange`
in its scope, whose methods do what ASGI does by messages and coroutines. What nobody has asked for
is bounded: a head's length, and how long an answer is kept for somebody who does not read it.
"""

import asyncio
import urllib.parse
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.exchange import EXCHANGE, Exchange
from gateway.transport import JoiningTransport, keep_little_unsent, turn_of

DATA_PLANE = "/v1"
"""How the paths begin whose requests find their exchange in the scope."""
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


class ServerProtocol(HttpToolsProtocol):
    """uvicorn's protocol with such transports, timers and exchanges."""

    cycle: Exchange
    """The newest request's; None before the first."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        keep_little_unsent(transport)
        self._joining = JoiningTransport(cast("asyncio.Transport", transport), turn_of(self.loop))
        super().connection_made(cast("asyncio.Transport", self._joining))
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
        exchange = self.cycle
        if exchange is None or exchange.response_complete:
            return
        exchange.body += body
        if len(exchange.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        exchange.tell()

    def on_message_complete(self) -> None:
        """Note that a body is there, as uvicorn does."""
        exchange = self.cycle
        if exchange is not None and not exchange.response_complete:
            exchange.more_body = False
            exchange.tell()
            self._joining.turn.expect()

    def eof_received(self) -> None:
        """Send what is held: the transport closes by itself now, and takes nothing after."""
        self._joining.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way."""
        self._timer.cancel()
        super().connection_lost(exc)
        exchange = self._answering
        if exchange is None or exchange.response_complete:
            return
        exchange.disconnected = True
        exchange.tell()
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
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
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
        self.cycle = exchange = Exchange(self, self._joining, keep_alive=is_kept)
        if scope["path"].startswith(DATA_PLANE):
            scope[EXCHANGE] = exchange
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
