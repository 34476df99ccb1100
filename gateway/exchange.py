"""One request to the server and its answer: uvicorn's cycle, with shorter ways to answer."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gateway.transport import JoiningTransport

EXCHANGE = "airlock.exchange"
"""Where a request to the data plane has it in its scope."""

LONG_BODY_BYTES = 16_384
"""What is made of more takes so long that nobody else's answer should wait for it."""


class Exchange(RequestResponseCycle):
    """One request and its answer, by ASGI's messages or by the methods here.

    An answer is begun by one or the other, and an error of before it by messages. What is written
    to a caller who has left goes nowhere, as with messages.
    """

    def __init__(
        self, protocol: HttpToolsProtocol, joining: JoiningTransport, *, keep_alive: bool
    ) -> None:
        """Begin with a request whose head is there; attributes are those of uvicorn's cycle.

        Args:
            protocol: The connection's.
            joining: Its transport.
            keep_alive: Whether the connection may be used again.
        """
        self.scope = protocol.scope
        self.transport = protocol.transport
        self._joining = joining
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.access_logger = protocol.access_logger
        self.access_log = protocol.access_log
        self.default_headers = protocol.server_state.default_headers
        self._event: asyncio.Event | None = None
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
    def message_event(self) -> asyncio.Event:  # type: ignore[override]
        """What uvicorn's `receive` waits for; made when somebody does, for few requests need it."""
        if self._event is None:
            self._event = asyncio.Event()
            if self.body or not self.more_body:
                self._event.set()
        return self._event

    def tell(self) -> None:
        """Wake whoever waits for more of the request, or for its end."""
        if self._event is not None:
            self._event.set()

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
        if len(self.body) > LONG_BODY_BYTES:
            self._joining.turn.flush()
        return bytes(self.body)

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        """Write a whole answer; `fields` are lines, each with its end, without the length."""
        length = len(body)
        if self.scope["method"] == "HEAD":
            body = b""
        answer = self._begin(status, b"%bcontent-length: %d\r\n" % (fields, length), body)
        if not self.disconnected:
            self._joining.write_expected(answer)
        self._end()

    def begin(self, status: int, fields: bytes, data: bytes) -> None:
        """Write a head and the first of the body, of which there will be more."""
        self.chunked_encoding = self.scope["http_version"] != "1.0"
        if self.chunked_encoding:
            fields += b"transfer-encoding: chunked\r\n"
            data = b"%x\r\n%b\r\n" % (len(data), data)
        # HTTP/1.0 has no chunks: the body ends with its connection.
        answer = self._begin(status, fields, data)
        if not self.disconnected:
            self._joining.write_now(answer)

    def write(self, data: bytes) -> None:
        """Write more of a body, at once."""
        if not self.disconnected:
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if self.chunked_encoding else data
            self._joining.write_now(chunk)

    def end(self) -> None:
        """End the answer."""
        if not self.disconnected and self.chunked_encoding:
            self._joining.write_now(b"0\r\n\r\n")
        self._end()

    async def drain(self) -> None:
        """Return when more should be written."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()

    def _begin(self, status: int, fields: bytes, data: bytes) -> bytes:
        if self.response_started:
            raise RuntimeError("this answer has begun already")
        self.response_started = True
        self.waiting_for_100_continue = False
        own = b"" if self.keep_alive else b"connection: close\r\n"
        for name, value in self.default_headers:  # The date, which uvicorn writes each second.
            own += b"%b: %b\r\n" % (name, value)
        return b"%b%b%b\r\n%b" % (STATUS_LINE[status], fields, own, data)

    def _end(self) -> None:
        if self.disconnected:
            return
        self.response_complete = True
        self.tell()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
