"""The circuit breaker of one engine: passive health, seen from the requests that it is given.

    closed ──failures in a row──▶ open ──its time is over──▶ half-open ──success──▶ closed
                                   ▲                             │
                                   └──────────failure────────────┘

Probes (`probe`) say whether an engine is the right one; the breaker says whether it does its work.
"""

from typing import Literal

MAX_OPEN_SECONDS = 30.0
State = Literal["closed", "open", "half-open"]


class Breaker:
    """Notes for whom it failed; time is an argument, on the monotonic clock."""

    def __init__(self, failures: int, open_seconds: float) -> None:
        """Start closed.

        Args:
            failures: For so many people in a row, and it opens.
            open_seconds: For how long, at first; doubled each time that a trial fails.
        """
        self._limit = failures
        self._open_seconds = open_seconds
        self._failed_for: set[str] = set()
        self._wait_seconds = min(open_seconds, MAX_OPEN_SECONDS)
        self._open_until = 0.0
        self.state: State = "closed"

    @property
    def is_tested(self) -> bool:
        """Whether a success would change anything."""
        return bool(self._failed_for) or self.state != "closed"

    def allows(self, now: float) -> bool:
        """Whether a request may be sent; half-open lets one through, whose end decides."""
        return self.state == "closed" or (self.state == "open" and now >= self._open_until)

    def begin(self) -> None:
        """Note that a request is sent now."""
        if self.state == "open":
            self.state = "half-open"

    def succeed(self) -> bool:
        """Note a good answer; return whether the engine comes back with it."""
        came_back = self.state == "half-open"
        self.state = "closed"
        self._failed_for.clear()
        if came_back:
            self._wait_seconds = min(self._open_seconds, MAX_OPEN_SECONDS)
        return came_back

    def fail(self, now: float, person_id: str) -> None:
        """Note a failure; somebody whose own requests fail does not take an engine from others."""
        self._failed_for.add(person_id)
        if self.state == "open" and now < self._open_until:
            return  # It was asked before, like the others: no trial has failed.
        if self.state == "half-open" or len(self._failed_for) >= self._limit:
            self._open_until = now + self._wait_seconds
            # Bounded here: after a thousand doublings there would be no such number any more.
            self._wait_seconds = min(2 * self._wait_seconds, MAX_OPEN_SECONDS)
            self.state = "open"

    def abandon(self) -> None:
        """Note that a request ended without a verdict on the engine; another may try."""
        if self.state == "half-open":
            self.state = "open"
