"""The ledger in Redis by which several workers count together.

Every tenth of a second each worker writes what it has counted for the accounts that are in use, and
reads what the others have; requests are decided from memory and never wait for Redis. So limits are
exact to what the others admit in that tenth of a second. What a worker wrote about running requests
counts for five seconds, so that one that was killed holds nothing for long; its tokens of the day
stay. Without Redis, or with a slow one, each worker admits its share of every limit
(`AIRLOCK_REDIS_DEGRADED_SHARE`): never everything, never nothing.

A key is a keyed hash: names of people and organisations are not written.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Iterable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.dataplane.accounts import DAY, MINUTE, NO_OTHERS, Account, Others
from gateway.dataplane.limits import Limits
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.trouble import Trouble

EXCHANGE_SECONDS = 0.1
PAUSE_SECONDS = 1.0
"""Between two attempts after several have failed."""
FAILURES = 3
STALE_SECONDS = 1.0
RUNNING_SECONDS = 5.0
EXPIRY_SECONDS = 2 * DAY
log = logging.getLogger(__name__)


class Ledger:
    """One worker's part in it."""

    def __init__(
        self, client: Redis, limits: Limits, key: bytes, settings: Settings, metrics: Metrics
    ) -> None:
        """Add what others have counted to `limits`; names are hashed with `key`."""
        self._client = client
        self._limits = limits
        self._key = key
        self._settings = settings
        self._metrics = metrics
        self._worker = secrets.token_hex(8).encode()
        self._failures = 0
        self._trouble = Trouble(log, "limits are not shared")
        self._known_at = float("-inf")
        self._degrade()

    async def keep(self) -> None:
        """Exchange for ever."""
        while True:
            try:
                async with asyncio.timeout(self._settings.redis_timeout_seconds):
                    await self.exchange()
                self._trouble.worked()
            except (RedisError, OSError, TimeoutError, ValueError):
                self._failures += 1
                if time.monotonic() - self._known_at > STALE_SECONDS:
                    self._trouble.failed()
                    self._degrade()
            pause = self._failures >= FAILURES
            await asyncio.sleep(PAUSE_SECONDS if pause else EXCHANGE_SECONDS)

    async def exchange(self) -> None:
        """Write what was counted here, and read what was counted elsewhere.

        Raises:
            RedisError: Redis is down, or answers with an error.
            ValueError: What it holds is not what a worker writes.
        """
        wall, monotonic = time.time(), time.monotonic()
        used = [
            (self._name(kind, name), account)
            for kind, name, account in self._limits.accounts()
            if account.running or account.told != account.counts or _is_recent(account, monotonic)
        ]
        told = [account.counts for _, account in used]
        if used:
            pipeline = self._client.pipeline(transaction=False)
            for name, account in used:
                pipeline.hset(name, self._worker, _written(account, wall, monotonic))
                pipeline.expire(name, EXPIRY_SECONDS)
                pipeline.hgetall(name)
            found = await pipeline.execute()
        else:
            await self._client.ping()
            found = []
        for (name, account), counts, workers in zip(used, told, found[2::3], strict=True):
            account.told = counts
            workers.pop(self._worker, None)
            account.others = _sum(workers.values(), wall)
            if gone := [worker for worker, line in workers.items() if _is_over(line, wall)]:
                # Otherwise what is in use would keep a line of every worker that there ever was.
                await self._client.hdel(name, *gone)
        self._known_at, self._failures, self._limits.share = time.monotonic(), 0, 1.0
        self._metrics.limits_degraded.set(0)

    def _degrade(self) -> None:
        self._limits.share = self._settings.redis_degraded_share
        self._metrics.limits_degraded.set(1)
        for _, _, account in self._limits.accounts():
            # What others run is not known any more; what they used of the day is not given back.
            account.others = NO_OTHERS._replace(day_tokens=account.others.day_tokens)

    def _name(self, kind: str, name: str) -> str:
        hashed = hashlib.blake2b(f"{kind}/{name}".encode(), key=self._key, digest_size=16)
        return f"airlock:account:{hashed.hexdigest()}"


def _is_recent(account: Account, monotonic: float) -> bool:
    """Whether what others do to an account matters now."""
    return monotonic < account.minute_began + 2 * MINUTE


def _written(account: Account, wall: float, monotonic: float) -> str:
    began = wall - (monotonic - account.minute_began)
    fields = (began, wall, account.requests, account.tokens)
    return " ".join(map(str, (*fields, account.day, account.day_tokens, account.running)))


def _is_over(written: bytes, wall: float) -> bool:
    """Whether a worker has not written for so long that nothing of it counts any more."""
    return float(written.split()[1]) < wall - EXPIRY_SECONDS


def _sum(written: Iterable[bytes], wall: float) -> Others:
    requests = tokens = day_tokens = running = 0
    for line in written:
        began, at, *counts = line.split()
        its_requests, its_tokens, day, its_day_tokens, its_running = map(int, counts)
        if wall < float(began) + MINUTE:
            requests, tokens = requests + its_requests, tokens + its_tokens
        if day >= wall // DAY:  # A later one, where the clock was put right since.
            day_tokens += its_day_tokens
        if wall < float(at) + RUNNING_SECONDS:
            running += its_running
    return Others(requests, tokens, day_tokens, running)
