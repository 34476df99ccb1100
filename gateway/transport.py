"""A transport that lets a head leave together with its body."""

import asyncio
import socket

HEAD = b"HTTP/1.1 "
UNREAD_SECONDS = 120.0
"""For so long a caller may read nothing of an answer that is over; then it is thrown away."""

UNSENT_BYTES = 131_072
"""What the kernel takes beyond what is on its way. Else it takes up to 4 MB, and who reads 10 kB a
second is seen to read once in two minutes: a third of it must go before more is taken."""


def keep_little_unsent(transport: asyncio.BaseTransport) -> None:
    """Have a connection's reading be seen as it happens."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


class JoiningTransport:
    """A transport that holds a head back until the next write, or until the loop comes round.

    Nothing is delayed by it: what is held back leaves before the loop waits for anything.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Write to `transport`."""
        self._transport = transport
        self._write = transport.write
        self._call_soon = loop.call_soon
        self._head = b""
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.set_protocol = transport.set_protocol
        self.abort = transport.abort
        self._unread_bytes, self._unread_since = 0, 0.0

    def write(self, data: bytes) -> None:
        """Send `data`, together with a head that was held back."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(HEAD):
            self._head = data
            self._call_soon(self._flush)
            return
        self._write(data)

    def write_now(self, data: bytes) -> None:
        """Send what was held back, such as the word to go on with a body, and then `data`."""
        if self._head:
            data, self._head = self._head + data, b""
        self._write(data)

    def close(self) -> None:
        """Send what was held back, and close."""
        self._flush()
        self._transport.close()

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

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._write(head)
