"""A stream on its way: each block goes to its caller in the moment in which it comes."""

import time
from collections.abc import Callable

from gateway.dataplane.answers import EVENT_END, Reader
from gateway.dataplane.http import Recipient
from gateway.dataplane.outcome import Outcome
from gateway.dataplane.snapshot import RunningAnswer


class Stream:
    """Takes bytes from an engine's connection and writes the events in them to a caller.

    No task wakes up for it. A caller who reads slowly has the engine wait (`Recipient.on_flow`).
    """

    __slots__ = ("_feed", "_fields", "_outcome", "_running", "_to", "is_done")

    def __init__(
        self,
        reader: Reader,
        to: Recipient,
        outcome: Outcome,
        fields: Callable[[], bytes],
        running: RunningAnswer,
    ) -> None:
        """Write to `to`.

        Args:
            reader: Finds the events.
            to: The caller.
            outcome: What becomes of the answer.
            fields: Makes those of the head, with the first event.
            running: The answer; of one that has been cut nothing more is written.
        """
        self._feed = reader.feed
        self._to = to
        self._outcome = outcome
        self._fields = fields
        self._running = running
        self.is_done = False
        """Whether the engine has said that the answer is complete."""

    def take(self, data: bytes) -> None:
        """Take in bytes, in which events may begin and end anywhere."""
        if self._running.cut_by is not None:
            return
        forward, is_done = self._feed(data)
        if is_done:
            self.is_done = True
        outcome = self._outcome
        if not forward:
            return
        outcome.events += forward.count(EVENT_END)
        if outcome.status is not None:
            self._to.write(forward)
            return
        outcome.first_byte_at = time.monotonic()
        outcome.status = 200
        self._to.begin(200, self._fields(), forward)
