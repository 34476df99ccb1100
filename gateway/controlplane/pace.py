"""How much one person asks of the admin API: requests in a minute, over all that they come with.

Counted in this process's memory alone, so that each gateway admits as many. Whoever has used them
up is turned away by what they came with, before the database is asked who that is: to be turned
away then costs no more than to come with nothing. What was turned away is not in the audit log,
which it would fill; the metric counts it, and the gateway's own log names once a minute whose.
"""

import hashlib
import logging
import secrets

from fastapi import Request

from gateway.errors import RateLimitedError
from gateway.identity.cookie import SESSION
from gateway.metrics import Metrics
from gateway.settings import Settings

WHAT = "admin requests per minute"
MAX_SPENT = 10_000
"""Keys, tokens and sessions that are remembered; one more is looked up each time."""
log = logging.getLogger(__name__)


class Pace:
    """Counts everybody's requests, in minutes that are the same for all."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Start with none."""
        self._most = settings.admin_requests_per_minute
        self._turned_away = metrics.rate_limited.labels(WHAT)
        self._key = secrets.token_bytes(32)
        self._minute = 0
        self._counts: dict[str, int] = {}
        """By actor: no more of them than people and administrators' keys."""
        self._spent: set[bytes] = set()
        """By what somebody has come with who was turned away, as a keyed hash."""

    def check(self, request: Request, now: float) -> None:
        """Turn away who was turned away with the same key, token or session in this minute.

        Args:
            request: Of nobody knows whom yet.
            now: On the monotonic clock.

        Raises:
            RateLimitedError: They were.
        """
        self._turn(now)
        if self._spent and self._hash(request) in self._spent:
            self._refuse(now)

    def count(self, actor: str, request: Request, now: float) -> None:
        """Count a request of somebody who is authenticated.

        Args:
            actor: Whose it is.
            request: What they came with.
            now: On the monotonic clock.

        Raises:
            RateLimitedError: They had enough in this minute.
        """
        self._turn(now)
        count = self._counts[actor] = self._counts.get(actor, 0) + 1
        if count <= self._most:
            return
        if count == self._most + 1:
            log.warning("the admin API is asked too much", extra={"airlock": {"actor": actor}})
        if len(self._spent) < MAX_SPENT:
            self._spent.add(self._hash(request))
        self._refuse(now)

    def _turn(self, now: float) -> None:
        minute = int(now) // 60
        if minute != self._minute:
            self._minute, self._counts, self._spent = minute, {}, set()

    def _refuse(self, now: float) -> None:
        self._turned_away.inc()
        raise RateLimitedError(WHAT, self._most, 60 - now % 60)

    def _hash(self, request: Request) -> bytes:
        return hashlib.blake2b(_credential(request).encode(), key=self._key).digest()


def _credential(request: Request) -> str:
    """Return what says who is calling, however it is written: a key, a token or a session."""
    authorization = request.headers.get("authorization")
    if authorization is None:
        return request.cookies.get(SESSION, "")
    return authorization.partition(" ")[2].strip()
