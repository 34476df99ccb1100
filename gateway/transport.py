"""A transport whose writes leave together with those of others, in one turn of the loop.

A turn reads from every connection that has something, and then does all that follows from it. Were
each answer and each engine's request sent in the middle of that, whoever gets them would wake up
for each, as often as there are some: a wake-up costs the sender more than all else of a write.
Sent one after another, they find the other side awake. So Redis writes its answers, and Netty
consolidates its flushes.

Nothing waits for it: what is held leaves before the loop waits for anything, and at once where it
is much. What comes alone in its turn is not held at all. A head leaves together with its body.
"""

import asyncio
import contextlib
import logging
import socket
from contextvars import Context
from weakref import WeakKeyDictionary

MOST_HELD_BYTES = 65_536
"""More leaves at once: who does not read must be known before more is written."""
UNREAD_SECONDS = 120.0
"""For so long a caller may read nothing of an answer that is over; then it is thrown away."""

UNSENT_BYTES = 131_072
"""What the kernel takes beyond what is on its way. Else it takes up to 4 MB, and who reads 10 kB a
second is seen to read once in two minutes: a third of it must go before more is taken."""
log = logging.getLogger(__name__)


def keep_little_unsent(transport: asyncio.BaseTransport) -> None:
    """Have a connection's reading be seen as it happens."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


class Turn:
    """Whatever is written in one turn of an event loop."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._writers: list[JoiningTransport] = []
        self._expected = 0
        self._context = Context()
        """Nobody's: what goes wrong with one connection is not of the request that wrote first."""

    def expect(self) -> None:
        """Note that something is read of which something to be written follows in this turn."""
        self._expected += 1

    def count_off(self) -> bool:
        """Count what is written now as come; return whether nothing else is expected or held."""
        self._expected -= 1
        if self._expected > 0:
            return False
        self._expected = 0
        return not self._writers

    def add(self, writer: "JoiningTransport") -> None:
        """Have a transport flushed when the turn ends."""
        if not self._writers:
            asyncio.get_running_loop().call_soon(self._end, context=self._context)
        self._writers.append(writer)

    def _end(self) -> None:
        # What has not come by now, since it waits for a database or its turn at an engine, is late.
        self._expected = 0
        self.flush()

    def flush(self) -> None:
        """Send all that is held, before something that takes long."""
        writers, self._writers = self._writers, []
        for writer in writers:
            try:
                writer.flush()
            except Exception:  # One connection's fault must not hold up what others are to get.
                log.exception("a connection could not be written to")
                with contextlib.suppress(Exception):
                    writer.abort()


_TURNS: "WeakKeyDictionary[asyncio.AbstractEventLoop, Turn]" = WeakKeyDictionary()


def turn_of(loop: asyncio.AbstractEventLoop) -> Turn:
    """Return what is written in the loop's turns; always the same."""
    turn = _TURNS.get(loop)
    if turn is None:
        turn = _TURNS[loop] = Turn()
    return turn


class JoiningTransport:
    """A transport that holds what is written until the turn ends, or until it is much."""

    def __init__(self, transport: asyncio.Transport, turn: Turn) -> None:
        """Write to `transport` when the turn ends."""
        self._transport = transport
        self._write = transport.write
        self.turn = turn
        self._held = b""
        self._was_dropped = False
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.set_protocol = transport.set_protocol
        self._unread_bytes, self._unread_since = 0, 0.0

    def write(self, data: bytes) -> None:
        """Send `data` when the turn ends, after what is held."""
        if self._held:
            data = self._held + data
        else:
            self.turn.add(self)
        self._held = data
        if len(data) > MOST_HELD_BYTES:
            self.flush()

    def write_expected(self, data: bytes) -> None:
        """Send `data`, which the turn expects: at once if it is alone in it."""
        if self.turn.count_off():
            self._write(data)
        else:
            self.write(data)

    def write_now(self, data: bytes) -> None:
        """Send `data` at once, after what is held."""
        if self._held:
            data, self._held = self._held + data, b""
        self._write(data)

    def flush(self) -> None:
        """Send what is held; to a connection that is closing, nothing goes any more."""
        data, self._held = self._held, b""
        if not data:
            return
        if self.is_closing():
            self._was_dropped = True
        else:
            self._write(data)

    @property
    def is_unsent(self) -> bool:
        """Whether the last that was written is held, or was when the connection closed."""
        return bool(self._held) or self._was_dropped

    def close(self) -> None:
        """Send what is held, and close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once, and send nothing more."""
        self._was_dropped = self.is_unsent
        self._held = b""
        self._transport.abort()

    def note_read(self) -> None:
        """Forget how much was unread: it has been read, and the next is another answer."""
        self._unread_bytes = 0

    def is_unread(self, now: float) -> bool:
        """Whether nothing of what was written has been read for too long; asked from time to time.

        Args:
            now: On the event loop's clock.
        """
        unread = self._transport.get_write_buffer_size()
        if not 0 < self._unread_bytes <= unread:
            self._unread_since = now
        self._unread_bytes = unread
        return now >= self._unread_since + UNREAD_SECONDS
