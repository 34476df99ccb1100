"""Trouble: one thing that fails again and again, and what the log says of it.

A task that looks four times a second would fill the log while the database is down. Of a trouble
there is a line when it begins, one a minute with the count while it lasts, one when it is over.
What is lost by it, and who is refused for it, is not told here.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

REPEAT_SECONDS = 60.0
CALM_SECONDS = 5.0
"""Without a failure, before a trouble is over: what fails every other time is one trouble."""


class Trouble:
    """What one task says of its failures."""

    def __init__(
        self,
        log: logging.Logger,
        what: str,
        calm_seconds: float = CALM_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without trouble.

        Args:
            log: Where to say it.
            what: What is the case while it lasts: a whole sentence, without a caller's words.
            calm_seconds: Without a failure, before it is over; 0 for what stays well once it is.
            clock: Seconds that never go back.
        """
        self._log = log
        self._what = what
        self._calm_seconds = calm_seconds
        self._clock = clock
        self._failures = 0
        self._began_at = self._said_at = self._failed_at = 0.0

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Take a failure for what it is, whatever it was: the task goes on, and tries again."""
        try:
            yield
        except Exception:  # noqa: BLE001 - its kind is logged; who uses this must never end.
            self.failed()
        else:
            self.worked()

    def failed(self) -> None:
        """Count a failure, in the handler of its exception, whose kind the log is to tell."""
        now = self._failed_at = self._clock()
        if not self._failures:
            self._began_at = now
        self._failures += 1
        if self._failures == 1 or now - self._said_at >= REPEAT_SECONDS:
            self._said_at = now
            self._log.warning(self._what, exc_info=True, extra=self._facts())

    def worked(self) -> None:
        """Note that it went well; a trouble that was is over once there is calm."""
        if self._failures and self._clock() - self._failed_at >= self._calm_seconds:
            # As loud as its beginning: who has seen that is to see this.
            self._log.warning("over: %s", self._what, extra=self._facts())
            self._failures = 0

    def _facts(self) -> dict[str, object]:
        seconds = round(self._failed_at - self._began_at, 1)
        return {"airlock": {"failures": self._failures, "seconds": seconds}}
