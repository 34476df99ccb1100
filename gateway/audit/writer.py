"""The writer: one task per replica that appends in groups, so that requests share transactions.

While one transaction commits, what arrives waits for the next; the more there is, the larger the
groups get. What cannot be completed for reasons of its own is refused alone.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.entry import Entry
from gateway.audit.log import append
from gateway.db import Database
from gateway.errors import AirlockError, AuditUnavailableError
from gateway.metrics import Metrics
from gateway.trouble import Trouble

MAX_GROUP = 100
"""At 64 µs of canonical JSON for an entry, the event loop is held for 6 ms at most."""
MAX_WAITING = 10_000
RETRY_SECONDS = 0.5
log = logging.getLogger(__name__)

Draft = TypeVar("Draft")
Complete = Callable[[AsyncSession, Sequence[Draft]], Awaitable[list[Entry | AirlockError]]]
"""Makes entries of drafts, by what the database says in the transaction that appends them; or says
of one why it is refused."""


@dataclass
class _Waiting(Generic[Draft]):
    draft: Draft
    done: asyncio.Future[int] | None
    """None for what must be written some time, and nobody waits for."""
    since: float = field(default_factory=time.monotonic)


class Writer(Generic[Draft]):
    """Appends drafts to the log in groups."""

    def __init__(
        self,
        database: Database,
        complete: Complete[Draft],
        metrics: Metrics,
        timeout_seconds: float,
    ) -> None:
        """Write nothing until `run`.

        Args:
            database: Where the log is.
            complete: Makes entries of drafts.
            metrics: Counts.
            timeout_seconds: After which a transaction counts as failed.
        """
        self._database = database
        self._complete = complete
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._queue: deque[_Waiting[Draft]] = deque()
        self._group: list[_Waiting[Draft]] = []
        """What is being written at this moment."""
        self._arrived = asyncio.Event()
        self._is_stopping = False
        self._trouble = Trouble(log, "the audit log could not be written")
        metrics.health.audit_waiting.set_function(lambda: len(self._queue) + len(self._group))
        metrics.health.audit_waiting_seconds.set_function(self._oldest_seconds)

    async def write(self, draft: Draft) -> int:
        """Append and return the entry's number, once it is durable.

        Raises:
            AuditUnavailableError: It could not be written in time; it may be written all the same.
            AirlockError: `complete` refused it.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._put(_Waiting(draft, done))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await done
        except TimeoutError as error:
            raise AuditUnavailableError from error

    def write_soon(self, draft: Draft, *, even_if_full: bool = False) -> None:
        """Append as soon as it can be, again and again if need be; does not wait.

        Args:
            draft: What to append.
            even_if_full: For what has happened already and cannot be refused any more.

        Raises:
            AuditUnavailableError: Too much is waiting already.
        """
        self._put(_Waiting(draft, None), even_if_full=even_if_full)

    def _put(self, waiting: _Waiting[Draft], *, even_if_full: bool = False) -> None:
        if len(self._queue) >= MAX_WAITING and not even_if_full:
            raise AuditUnavailableError
        self._queue.append(waiting)
        self._arrived.set()

    def _oldest_seconds(self) -> float:
        oldest = min((each.since for each in (*self._group, *islice(self._queue, 1))), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    async def run(self) -> None:
        """Write what arrives, until `stop`."""
        while True:
            while self._queue:
                is_written = await self._write_group()
                if self._is_stopping and not is_written:
                    lost = {"entries": len(self._queue)}
                    log.error("audit entries are lost", extra={"airlock": lost})
                    return
            if self._is_stopping:
                return
            await self._arrived.wait()
            self._arrived.clear()

    def stop(self) -> None:
        """Let `run` end when it has written what is waiting; nothing may arrive any more."""
        self._is_stopping = True
        self._arrived.set()

    async def _write_group(self) -> bool:
        group = [self._queue.popleft() for _ in range(min(MAX_GROUP, len(self._queue)))]
        # Who has given up must not be recorded as about to be served.
        group = [each for each in group if each.done is None or not each.done.done()]
        if not group:
            return True
        self._group = group
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._append(group)
        except Exception:  # noqa: BLE001 - its kind is logged.
            # Whatever it was, nothing of the group is in the log, or nobody knows: both refuse.
            self._metrics.audit_failures.inc()
            self._trouble.failed()
            self._group = []
            await self._fail(group)
            return False
        self._trouble.worked()
        self._group = []
        return True

    async def _append(self, group: list[_Waiting[Draft]]) -> None:
        async with self._database.transaction() as session:
            made = await self._complete(session, [each.draft for each in group])
            entries = [each for each in made if isinstance(each, Entry)]
            seq = await append(session, entries) if entries else 0
        for waiting, result in zip(group, made, strict=True):
            if isinstance(result, Entry):
                self._metrics.audit_append_seconds.observe(time.monotonic() - waiting.since)
            if waiting.done is not None and not waiting.done.done():
                if isinstance(result, Entry):
                    waiting.done.set_result(seq)
                else:
                    waiting.done.set_exception(result)
            seq += isinstance(result, Entry)

    async def _fail(self, group: list[_Waiting[Draft]]) -> None:
        again = []
        for waiting in group:
            if waiting.done is None:
                again.append(waiting)
            elif not waiting.done.done():
                waiting.done.set_exception(AuditUnavailableError())
        self._queue.extendleft(reversed(again))
        if again:
            await asyncio.sleep(RETRY_SECONDS)
