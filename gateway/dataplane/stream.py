"""A stream on its way: each block goes to its caller in the moment in which it comes."""

import time
from collections.abc import Callable

from gateway.dataplane.answers import EVENT_END, Reader
from gateway.dataplane.http import Recipient, fields_of
from gateway.dataplane.outcome import Outcome


class Stream:
    """Takes bytes from an engine's connection and writes the events in them to a caller.

    No task wakes up for it. A caller who reads slowly has the engine wait (`Recipient.on_flow`).
    """

    __slots__ = ("_headers", "_is_cut", "_outcome", "_reader", "_to", "is_done")

    def __init__(
        self,
        reader: Reader,
        to: Recipient,
        outcome: Outcome,
        headers: Callable[[], dict[str, str]],
        is_cut: Callable[[], bool],
    ) -> None:
        """Write to `to`.

        Args:
            reader: Finds the events.
            to: The caller.
            outcome: What becomes of the answer.
            headers: The head's, asked for with the first event.
            is_cut: Whether nothing may be written any more.
        """
        self._reader = reader
        self._to = to
        self._outcome = outcome
        self._headers = headers
        self._is_cut = is_cut
        self.is_done = False
        """Whether the engine has said that the answer is complete."""

    def take(self, data: bytes) -> None:
        """Take in bytes, in which events may begin and end anywhere."""
        if self._is_cut():
            return
        events = self._reader.feed(data)
        if events.is_done:
            self.is_done = True
        forward, outcome = events.forward, self._outcome
        if not forward:
            return
        outcome.events += forward.count(EVENT_END)
        if outcome.status is not None:
            self._to.write(forward)
            return
        outcome.first_byte_at = time.monotonic()
        outcome.status = 200
        self._to.begin(200, fields_of(self._headers()), forward)
