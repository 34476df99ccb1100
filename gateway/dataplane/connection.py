"""One connection to an engine: HTTP/1.1 by httptools, one exchange at a time, strictly framed.

It owns bytes and framing. What a status means for a caller is `upstream`'s, when to give up is
`relay`'s. A connection goes back to its keep-alive list only after an answer that was complete; any
other end closes it, which is how an engine learns that its work is no longer wanted.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from gateway.errors import EngineFailedError
from gateway.transport import JoiningTransport, turn_of

MAX_HEAD_BYTES = 65_536
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class ConnectionLostError(Exception):
    """The connection ended before the answer did."""

    def __init__(self, *, was_silent: bool, was_sent: bool) -> None:
        """Say what had happened by then.

        Args:
            was_silent: Whether not even a first byte of the answer had come.
            was_sent: Whether the engine may have got the request, or a part of it.
        """
        super().__init__("the connection to the engine broke")
        self.was_silent = was_silent
        self.was_sent = was_sent


class EngineConnection(asyncio.Protocol):
    """A connection, and the one exchange on it.

    httptools takes `Content-Length` beside `Transfer-Encoding`, and a bare line end, for errors; an
    answer that ends with its connection is never complete here. So no byte can count for two
    answers.
    """

    def __init__(
        self,
        keep: Callable[["EngineConnection"], None],
        forget: Callable[["EngineConnection"], None],
    ) -> None:
        """Hand itself to `keep` when it can be used again, and to `forget` when it has closed."""
        self._keep = keep
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._turn = turn_of(self._loop)
        self._transport: JoiningTransport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], None] | None = None
        self._is_busy = False
        self.is_used = False
        """Whether an exchange was completed on it before."""
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._begin(is_stream=False)

    def _begin(self, *, is_stream: bool) -> None:
        self._is_stream = is_stream
        self._parts: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._messages = 0
        self._has_head = self._is_complete = self._is_paused = self._can_stay = False
        self._error: Exception | None = None
        self.status = 0
        self.last_at = self._loop.time()

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_awaited(self) -> bool:
        """Whether the engine's next bytes are waited for at this moment."""
        return not self._is_paused

    async def ask(self, request: bytes, *, is_stream: bool) -> int:
        """Send a request; return the answer's status once its head is there.

        An answer that is not a stream, or not good, is complete by then.

        Raises:
            ConnectionLostError: The connection broke.
            EngineFailedError: What came is no HTTP, or too long.
        """
        self._begin(is_stream=is_stream)
        self._is_busy = True
        if self._transport is None or self._transport.is_closing():
            raise ConnectionLostError(was_silent=True, was_sent=False)
        self._transport.write_expected(request)
        while not (self._is_complete or (self._has_head and is_stream and self.status == 200)):
            await self._next()
        return self.status

    def whole(self) -> bytes:
        """Return the body of a complete answer."""
        return b"".join(self._parts)

    async def pour(self, take: Callable[[bytes], None]) -> None:
        """Give what comes of a stream to `take` at once, until its end.

        Raises:
            ConnectionLostError: The connection broke.
            EngineFailedError: What came is no HTTP.
        """
        self._take = take
        try:
            if self._parts:
                self._give(take)
            while not self._is_complete:
                await self._next()
        finally:
            self._take = None

    def pause(self, is_paused: bool) -> None:
        """Have the engine wait, since its caller reads slowly; or go on."""
        if is_paused == self._is_paused or not self.is_open or self._transport is None:
            return
        self._is_paused = is_paused
        if is_paused:
            self._transport.pause_reading()
        else:
            self.last_at = self._loop.time()
            self._transport.resume_reading()

    def release(self) -> None:
        """End the exchange: keep the connection when the answer was complete, else close it."""
        self._is_busy = False
        self.is_used = True
        self.pause(False)
        if self._is_complete and self._error is None and self._can_stay:
            self.idle_since = self._loop.time()
            self._parts = []
            self._keep(self)
        else:
            self.close()

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> asyncio.Future[None]:
        """Return what is done once more has come; one that is done or cancelled is woken no more.

        No coroutine: the request is in it while it waits, and would come back through it.
        """
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        return self._waiter

    def _give(self, take: Callable[[bytes], None]) -> None:
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        take(data)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._error)
        self.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        joined = cast("asyncio.Transport", transport)
        self._transport = JoiningTransport(joined, self._turn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is under way."""
        self._forget(self)
        if self._is_busy and not self._is_complete:
            was_sent = self._transport is not None and not self._transport.is_unsent
            self._fail(ConnectionLostError(was_silent=self._head_size == 0, was_sent=was_sent))

    def data_received(self, data: bytes) -> None:
        """Parse what came; nothing may come that was not asked for."""
        if not self._is_busy or self._is_complete:
            self._fail(EngineFailedError())
            return
        self.last_at = self._loop.time()
        if not self._has_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(EngineFailedError())
            return
        if self._messages > 1 or (not self._has_head and self._head_size > MAX_HEAD_BYTES):
            self._fail(EngineFailedError())
        elif self._take is not None:
            if self._parts:
                self._give(self._take)
            if self._is_complete:
                self._wake()
        elif self._is_complete:
            self._turn.expect()
            self._wake()
        elif self._size > MAX_ANSWER_BYTES:  # What refuses a stream is none.
            self._fail(EngineFailedError())
        elif self._is_stream and self._has_head:
            self._wake()

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Count: a second answer to one request is none."""
        self._messages += 1

    def on_headers_complete(self) -> None:
        """Note the status."""
        self._has_head = True
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Keep a part."""
        self._size += len(body)
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Note that the answer is complete; the parser knows only now whether another may come."""
        self._is_complete = True
        self._can_stay = self._parser.should_keep_alive()
