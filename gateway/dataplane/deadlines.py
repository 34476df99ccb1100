"""When an answer's engine or caller has taken too long.

One timer for all answers, which looks only at those whose time has come: a timer for each would
cost every request what the watch over the few slow ones is worth.
"""

import asyncio
from collections.abc import Callable

from gateway.dataplane.connection import EngineConnection
from gateway.dataplane.http import ClientGoneError
from gateway.errors import EngineTimeoutError
from gateway.settings import Settings

TICK_SECONDS = 0.1
"""How late an answer may be ended."""


class Deadline:
    """One answer's."""

    __slots__ = ("_cut", "_ends_at", "_idle_seconds", "connection", "tick")

    def __init__(
        self, cut: Callable[[Exception], None], idle_seconds: float, ends_at: float
    ) -> None:
        """End an answer by `cut` when nothing comes for `idle_seconds`, or at `ends_at`."""
        self._cut = cut
        self._idle_seconds = idle_seconds
        self._ends_at = ends_at
        self.connection: EngineConnection | None = None
        """By what comes on it, the engine is judged."""
        self.tick = 0

    def watch(self, connection: EngineConnection | None) -> None:
        """Judge by what comes on a connection from now on."""
        self.connection = connection

    def look(self, now: float) -> float | None:
        """End the answer if its time has come; return when to look again if not."""
        due = now + self._idle_seconds
        if self.connection is not None:
            due = self.connection.last_at + self._idle_seconds
            if due <= now and not self.connection.is_awaited:
                # The engine has been made to wait because the caller does not read.
                self._cut(ClientGoneError())
                return None
        if due <= now or self._ends_at <= now:
            self._cut(EngineTimeoutError())
            return None
        return min(due, self._ends_at)


class Deadlines:
    """Those of all answers, by the tick of the clock at which each is looked at."""

    def __init__(self, settings: Settings) -> None:
        """Start with none."""
        self._loop = asyncio.get_running_loop()
        self._idle_seconds = settings.idle_timeout_seconds
        self._seconds = settings.request_timeout_seconds
        self._first_seconds = min(self._idle_seconds, self._seconds)
        self._due: dict[int, set[Deadline]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0

    def add(self, cut: Callable[[Exception], None]) -> Deadline:
        """Start the clock of an answer, which `cut` ends."""
        now = self._loop.time()
        deadline = Deadline(cut, self._idle_seconds, now + self._seconds)
        self._put(deadline, now + self._first_seconds)
        return deadline

    def discard(self, deadline: Deadline) -> None:
        """Stop the clock of an answer."""
        due = self._due.get(deadline.tick)
        if due is not None:
            due.discard(deadline)
            if not due:  # An empty set keeps the room that it had, and there is one for each tick.
                del self._due[deadline.tick]

    def _put(self, deadline: Deadline, at: float) -> None:
        deadline.tick = tick = int(at / TICK_SECONDS) + 1
        due = self._due.get(tick)
        if due is None:
            due = self._due[tick] = set()
            if self._timer is None or tick < self._rings_at:
                self._ring_at(tick)
        due.add(deadline)

    def _ring_at(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = tick
        self._timer = self._loop.call_at(tick * TICK_SECONDS, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time()
        for tick in [tick for tick in self._due if tick * TICK_SECONDS <= now]:
            for deadline in self._due.pop(tick):
                again = deadline.look(now)
                if again is not None:
                    self._put(deadline, again)
        if self._due:
            self._ring_at(min(self._due))
