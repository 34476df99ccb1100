"""A transport that lets a head leave together with its body."""

import asyncio

HEAD = b"HTTP/1.1 "
UNREAD_SECONDS = 120.0
"""For so long a caller may read nothing of an answer that is over; then it is thrown away."""


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
