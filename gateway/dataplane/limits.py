"""Requests per minute for each key, counted in this process."""

import time
from typing import NamedTuple

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from gateway.errors import RateLimitedError
from gateway.identity.principal import Principal


class Allowance(NamedTuple):
    """What a key has left in this minute."""

    limit: int
    remaining: int
    reset_seconds: float

    def headers(self) -> dict[str, str]:
        """Return the `x-ratelimit-*` headers."""
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_seconds:.0f}s",
        }


class RequestLimits:
    """Counts requests."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def spend(self, principal: Principal) -> Allowance:
        """Count one request.

        Raises:
            RateLimitedError: The key has used up this minute's requests.
        """
        limit = principal.tier.requests_per_minute
        item = RateLimitItemPerMinute(limit)
        allowed = self._limiter.hit(item, principal.key_id)
        window = self._limiter.get_window_stats(item, principal.key_id)
        reset_seconds = max(0.0, window.reset_time - time.time())
        if not allowed:
            raise RateLimitedError(limit, reset_seconds)
        return Allowance(limit, window.remaining, reset_seconds)
