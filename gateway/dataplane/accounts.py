"""What one person or organisation has used, in fixed windows of a minute and of a day (UTC)."""

from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import Struct

MINUTE, DAY = 60.0, 86_400
NEVER = float("-inf")
Name = tuple[str, str]
"""Of what kind somebody is, and who."""


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
    read_at: float = NEVER
    """When it was read, by the clock that nobody sets."""

    def only_the_day(self) -> "Others":
        """Return what stays of it when it is too old for the rest."""
        return self._replace(requests=0, tokens=0, running=0)


NO_OTHERS = Others()


class Told(NamedTuple):
    """What others can read of this worker's counts."""

    counts: tuple[float, ...] | None = None
    kept_at: float = NEVER
    """When its end was last put off."""
    epoch: float = NEVER
    """What the clock on the wall said when the other one began."""


NOTHING_TOLD = Told()


@dataclass(slots=True, eq=False)
class Account:
    """What one person or organisation has used here, and what it has elsewhere."""

    name: Name
    changed: "dict[Name, Account]" = field(repr=False)
    """Everybody's that others are to be told of, in the order in which they changed."""
    minute_began: float = -MINUTE
    requests: int = 0
    tokens: int = 0
    day: int = 0
    day_tokens: int = 0
    running: int = 0
    others: Others = NO_OTHERS
    told: Told = NOTHING_TOLD

    @property
    def counts(self) -> tuple[float, ...]:
        """All that this worker has counted, and in which windows."""
        tokens, day_tokens = self.tokens, self.day_tokens
        return self.minute_began, self.requests, tokens, self.day, day_tokens, self.running

    def note(self) -> None:
        """Have others told of it: among thousands that rest nobody looks for one that changed."""
        self.changed[self.name] = self

    def turn(self, now: Moment) -> None:
        """Start the windows anew whose time is over; a clock that is set back starts none.

        Others are read while an account is in use, so only one that has rested knows old things.
        """
        if now.monotonic >= self.minute_began + MINUTE:
            self.minute_began, self.requests, self.tokens = now.monotonic, 0, 0
            self.note()
            if now.monotonic >= self.others.read_at + MINUTE:
                self.others = self.others.only_the_day()
        day = int(now.wall // DAY)
        if day > self.day:
            self.day, self.day_tokens = day, 0
            self.note()
            if now.wall - (now.monotonic - self.others.read_at) < day * DAY:
                self.others = self.others._replace(day_tokens=0)
