"""The ledger in Redis by which several workers count together.

Every tenth of a second each worker writes what it has counted since, and reads what the others have
of the same accounts; of those that rest here it reads once a second, for two minutes. Requests are
decided from memory and never wait for Redis. So limits are exact to what the others admit in that
tenth of a second, and in a second for who comes back. What a worker wrote about running requests
counts for five seconds, so that one that was killed holds nothing for long; its tokens of the day
stay. Without Redis, or with a slow one, each worker admits its share of every limit
(`AIRLOCK_REDIS_DEGRADED_SHARE`): never everything, never nothing.

Accounts are exchanged in slices, each in its own time: what one slice does not get done is the next
exchange's, and only once everything was exchanged that is to be are the others known. An account
says itself that it has changed, and those that are read again wait in the order of their time: one
that rests costs an exchange nothing. What is not read any more counts no more, but for the day's.

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

from gateway.dataplane.accounts import DAY, MINUTE, NEVER, NOTHING_TOLD, Account, Name, Others, Told
from gateway.dataplane.limits import Limits
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.trouble import Trouble

EXCHANGE_SECONDS = 0.1
RESTING_SECONDS = 1.0
"""Between two looks at an account for which nothing was counted here."""
SLICE = 100
"""Accounts at a time: for about three milliseconds of it no request has its turn."""
PAUSE_SECONDS = 1.0
"""Between two attempts after several have failed."""
FAILURES = 3
STALE_SECONDS = 1.0
RUNNING_SECONDS = 5.0
EXPIRY_SECONDS = 2 * DAY
CLOCK_SECONDS = 1.0
"""When the clock on the wall was set by more, what is written by it is written anew."""
FAULTS = (RedisError, OSError, TimeoutError, ValueError)
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
        self._read: dict[Name, Account] = {}
        """What was read and will be again, in the order in which it was."""
        self._failures = 0
        self._trouble = Trouble(log, "limits are not shared")
        self._known_at = self._degraded_at = NEVER
        self._degrade()

    async def keep(self) -> None:
        """Exchange for ever."""
        while True:
            try:
                await self.exchange()
                self._trouble.worked()
            except FAULTS:
                if time.monotonic() - self._known_at > STALE_SECONDS:
                    self._trouble.failed()
                    self._degrade()
            pause = self._failures >= FAILURES
            await asyncio.sleep(PAUSE_SECONDS if pause else EXCHANGE_SECONDS)

    async def exchange(self) -> None:
        """Write what was counted here, and read what was counted elsewhere.

        Raises:
            RedisError: Redis is down, or answers with an error.
            TimeoutError: It did not answer in time.
            ValueError: What it holds is not what a worker writes.
        """
        due = self._due(time.monotonic())
        fault: Exception | None = None
        for first in range(0, len(due) or 1, SLICE):
            try:
                async with asyncio.timeout(self._settings.redis_timeout_seconds):
                    await self._exchange(due[first : first + SLICE])
                self._failures = 0
            except FAULTS as error:
                fault = error
                self._failures += 1
                if self._failures >= FAILURES:
                    break
        if fault is not None:
            raise fault
        self._known_at, self._limits.share = time.monotonic(), 1.0
        self._metrics.limits_degraded.set(0)

    def _due(self, monotonic: float) -> list[Account]:
        """Return the accounts that are to be exchanged now, and have done with those that rest."""
        # What was read before others were not known any more is known no more.
        before = max(monotonic - RESTING_SECONDS, self._degraded_at)
        changed = self._limits.changed
        due, over = list(changed.values()), []
        for name, account in self._read.items():
            if account.others.read_at > before:
                break
            if account.running or _is_recent(account, monotonic):
                if name not in changed:
                    due.append(account)
            else:
                over.append(account)
        for account in over:
            account.others = account.others.only_the_day()
            del self._read[account.name]
        return due

    async def _exchange(self, slice_: list[Account]) -> None:
        """Exchange some accounts; without any, see whether Redis answers."""
        if not slice_:
            await self._client.ping()
            return
        changed = self._limits.changed
        noted = [account for account in slice_ if changed.get(account.name) is account]
        for account in noted:
            del changed[account.name]  # What it counts from now on notes it anew.
        try:
            await self._write_and_read([(self._name(account.name), account) for account in slice_])
        except BaseException:  # The time-out among them.
            for account in noted:
                changed.setdefault(account.name, account)
            raise

    async def _write_and_read(self, slice_: list[tuple[str, Account]]) -> None:
        """Write what has changed or runs of some accounts, with their names in Redis; read all."""
        wall, monotonic = time.time(), time.monotonic()
        telling = [
            (name, account, _telling(account, wall, monotonic))
            for name, account in slice_
            if account.running
            or account.told.counts != account.counts
            # A minute that others take for one to come would count until it is over.
            or abs(wall - monotonic - account.told.epoch) > CLOCK_SECONDS
        ]
        pipeline = self._client.pipeline(transaction=False)
        for name, account, _ in telling:
            pipeline.hset(name, self._worker, _written(account, wall, monotonic))
        for name, _, told in telling:
            if told.kept_at == monotonic:
                pipeline.expire(name, EXPIRY_SECONDS)
        for name, _ in slice_:
            pipeline.hgetall(name)
        found = await pipeline.execute()
        for (_, account, told), is_new in zip(telling, found, strict=False):
            account.told = told
            if is_new and told.kept_at != monotonic:
                _tell_again(account)  # Redis had forgotten it, so that it is without an end.
        over: list[tuple[str, list[bytes]]] = []
        for (name, account), workers in zip(slice_, found[-len(slice_) :], strict=True):
            if workers.pop(self._worker, None) is None:
                _tell_again(account)
            account.others = _sum(workers.values(), wall, monotonic)
            self._read.pop(account.name, None)
            self._read[account.name] = account
            if gone := [worker for worker, line in workers.items() if _is_over(line, wall)]:
                over.append((name, gone))
        if over:
            await self._clear(over)

    async def _clear(self, over: list[tuple[str, list[bytes]]]) -> None:
        """Remove lines that count no more: an account in use would keep one of every worker."""
        pipeline = self._client.pipeline(transaction=False)
        for name, workers in over:
            pipeline.hdel(name, *workers)
        await pipeline.execute()

    def _degrade(self) -> None:
        self._limits.share = self._settings.redis_degraded_share
        self._metrics.limits_degraded.set(1)
        self._degraded_at = time.monotonic()
        for account in self._read.values():
            # What others run is not known any more; what they used of the day is not given back.
            account.others = account.others.only_the_day()

    def _name(self, name: Name) -> str:
        hashed = hashlib.blake2b("/".join(name).encode(), key=self._key, digest_size=16)
        return f"airlock:account:{hashed.hexdigest()}"


def _tell_again(account: Account) -> None:
    """Have the next exchange write an account, whatever was written before."""
    account.told = NOTHING_TOLD
    account.note()


def _is_recent(account: Account, monotonic: float) -> bool:
    """Whether what others do to an account matters now."""
    return monotonic < account.minute_began + 2 * MINUTE


def _telling(account: Account, wall: float, monotonic: float) -> Told:
    """Return what others can read of an account once it is written."""
    kept_at = account.told.kept_at
    is_kept = monotonic < kept_at + MINUTE
    return Told(account.counts, kept_at if is_kept else monotonic, wall - monotonic)


def _written(account: Account, wall: float, monotonic: float) -> str:
    began = wall - (monotonic - account.minute_began)
    fields = (began, wall, account.requests, account.tokens)
    return " ".join(map(str, (*fields, account.day, account.day_tokens, account.running)))


def _is_over(written: bytes, wall: float) -> bool:
    """Whether a worker has not written for so long that nothing of it counts any more."""
    return float(written.split()[1]) < wall - EXPIRY_SECONDS


def _sum(written: Iterable[bytes], wall: float, monotonic: float) -> Others:
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
    return Others(requests, tokens, day_tokens, running, monotonic)
