"""What a fault did: who was served meanwhile, when all was well again, and what must not have been.

Of every request it is known who asked and what came; the rest is what the parts say themselves.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.chaos.system import System
from tests.chaos.traffic import Asked

DOORS = {"public": "unlearned", "researcher": "base"}


@dataclass
class Finding:
    """One row of the table."""

    fault: str
    began: float
    ended: float
    served: dict[str, float]
    """The share of whole answers among requests made during the fault, by who asked; of those to
    the other gateway where it happened to one."""
    cut_off: int
    """How many requests were under way when it began and did not get their whole answer."""
    codes: dict[str, int]
    """What was said instead of an answer, and how often; 0 where nothing was."""
    back_seconds: dict[str, float]
    """From the fault's end until nobody of a door was turned away or left waiting any more."""
    wrong_door: int
    """Answers by another checkpoint than the caller's, and callers of the public at the base."""
    intents_lost: int
    """Answers of the base without an entry in the audit log made before."""
    outcomes_lost: int
    """Answers of the base whose outcome is not in it."""
    tokens: dict[str, float]
    """As whole answers told them, as gateways charged, and as engines counted."""
    resets_counts: bool
    """Whether counts began anew, so that only the answers' own are whole."""

    @property
    def is_right(self) -> bool:
        """Whether nothing was lost, and nobody was let in."""
        told, charged, counted = (self.tokens[k] for k in ("told", "charged", "counted"))
        is_counted = self.resets_counts or told <= charged <= counted
        return not (self.wrong_door or self.intents_lost or self.outcomes_lost) and is_counted

    def document(self) -> dict:
        """The row as JSON."""
        return {**asdict(self), "is_right": self.is_right}


def served(
    asked: Sequence[Asked], began: float, ended: float, gateway: int | None
) -> dict[str, float]:
    """The share of whole answers among the requests made meanwhile, by who asked.

    Those made to `gateway`, which the fault has happened to, are left out.
    """
    found = {}
    for who in DOORS:
        during = [
            one
            for one in asked
            if one.who == who and one.gateway != gateway and began < one.at < ended
        ]
        found[who] = sum(one.is_served for one in during) / max(len(during), 1)
    return found


def cut_off(asked: Sequence[Asked], began: float) -> int:
    """Count the requests that were under way when the fault began and were not served."""
    return sum(one.at < began < one.ended and not one.is_served for one in asked)


def codes(asked: Sequence[Asked]) -> dict[str, int]:
    """Count what was said to those who were not served."""
    return dict(Counter(one.code or str(one.status) for one in asked if not one.is_served))


def back_seconds(asked: Sequence[Asked], ended: float) -> dict[str, float]:
    """How long after the fault's end the last of a door's requests failed."""
    found = {}
    for who in DOORS:
        late = [one.ended - ended for one in asked if one.who == who and not one.is_served]
        found[who] = max([0.0, *late])
    return found


def is_well(asked: Sequence[Asked], since: float, gateways: int) -> bool:
    """Whether every caller's last two answers came whole, to requests made since a moment."""
    for gateway in range(gateways):
        for who in DOORS:
            for is_stream in (False, True):
                mine = [
                    one.is_served and one.at >= since
                    for one in asked
                    if (one.gateway, one.who, one.is_stream) == (gateway, who, is_stream)
                ]
                if len(mine) < 2 or not all(mine[-2:]):
                    return False
    return True


def wrong_door(system: System, asked: Sequence[Asked]) -> int:
    """Count who was given another checkpoint than theirs, or reached the base without a grant."""
    answered = sum(
        one.is_served and one.checkpoint != system.digest(DOORS[one.who]) for one in asked
    )
    public = {one.request_id for one in asked if one.who == "public"}
    return answered + len(public & system.wires["engine base"].request_ids)


def unaudited(system: System, asked: Sequence[Asked]) -> tuple[int, int]:
    """Count the base's answers without an intent, and without an outcome, in the audit log."""
    answers = {one.request_id for one in asked if one.who == "researcher" and one.is_served}
    intents, outcomes = system.audited()
    return len(answers - intents), len(answers - outcomes)
