"""What one person or organisation has used, in fixed windows of a minute and of a day (UTC)."""

from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Struct

MINUTE, DAY = 60.0, 86_400


class Moment(Struct, frozen=True):
    """Now: minutes go by the clock that nobody sets, days by the one on the wall."""

    monotonic: float
    wall: float


class Others(NamedTuple):
    """What other workers have counted for an account, as far as is known."""

    requests: int = 0
    tokens: int = 0
    day_tokens: int = 0
    running: int = 0


NO_OTHERS = Others()


@dataclass(slots=True)
class Account:
    """What one person or organisation has used here, and what it has elsewhere."""

    minute_began: float = -MINUTE
    requests: int = 0
    tokens: int = 0
    day: int = 0
    day_tokens: int = 0
    running: int = 0
    others: Others = NO_OTHERS
    told: tuple[int, int, int, int] = (0, 0, 0, 0)
    """What others were last told of this worker's counts."""

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """This worker's requests, tokens, tokens of the day, and requests that run."""
        return self.requests, self.tokens, self.day_tokens, self.running

    def turn(self, now: Moment) -> None:
        """Start the windows anew whose time is over; a clock that is set back starts none."""
        if now.monotonic >= self.minute_began + MINUTE:
            self.minute_began, self.requests, self.tokens = now.monotonic, 0, 0
        day = int(now.wall // DAY)
        if day > self.day:
            self.day, self.day_tokens = day, 0
