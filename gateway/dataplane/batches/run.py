"""One gateway's work on one batch, from its claim to the results or to the loss of its lease."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import anyio.to_thread

from gateway import clock
from gateway.contents_errors import ContentsUnavailableError
from gateway.dataplane.batches.files import OPEN
from gateway.dataplane.batches.jobs import LeaseLostError, bring_forward
from gateway.dataplane.batches.journal import Ended, Journal, take_over
from gateway.dataplane.batches.lines import Line, Numbered, answered_line, check_lines, read_lines
from gateway.dataplane.batches.results import Results, write_results
from gateway.dataplane.batches.shelf import JOURNALS, Shelf
from gateway.dataplane.collected import Answered
from gateway.dataplane.endpoints import ENDPOINTS, Endpoint
from gateway.dataplane.snapshot import SnapshotKeeper
from gateway.db import Database
from gateway.errors import (
    AirlockError,
    AuditUnavailableError,
    EngineUnavailableError,
    NotReadyError,
    OverloadedError,
    QuotaExceededError,
    RateLimitedError,
)
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.tables import Batch

WAITS = (
    AuditUnavailableError,
    ContentsUnavailableError,
    EngineUnavailableError,
    NotReadyError,
    OverloadedError,
    QuotaExceededError,
    RateLimitedError,
)
"""Errors of requests that no engine has answered, and that may be served later: a line waits."""
LONGEST_WAIT_SECONDS = 10.0
"""To ask again costs little, and whoever raises a limit sees it work."""
Ask = Callable[[str, Endpoint, bytes, str | None], Awaitable[Answered]]


@dataclass(frozen=True)
class Workshop:
    """What every run of a worker shares."""

    settings: Settings
    database: Database
    shelf: Shelf
    keeper: SnapshotKeeper
    metrics: Metrics
    ask: Ask
    """Answers a request by the id of its key, at one door alone."""
    slots: asyncio.Semaphore
    """How many requests of all batches are open."""


@dataclass
class Tally:
    """How far a batch is."""

    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, ended: Ended) -> None:
        """Count a line."""
        self.completed += ended.is_answered
        self.failed += not ended.is_answered
        self.prompt_tokens += ended.prompt_tokens
        self.completion_tokens += ended.completion_tokens


class Run:
    """The work on one batch under one claim."""

    def __init__(self, batch: Batch, workshop: Workshop) -> None:
        """Work on a batch that was claimed just now."""
        self._batch = batch
        self._shop = workshop
        self._claimed_at = time.monotonic()
        self._tally = Tally(
            batch.completed, batch.failed, batch.prompt_tokens, batch.completion_tokens
        )
        self._total = batch.total
        self._stopping = asyncio.Event()
        self._is_ending = False
        # Next line, then next entry: a generator and a file are not for two threads at once.
        self._reading, self._writing = asyncio.Lock(), asyncio.Lock()

    async def keep_lease(self) -> None:
        """Renew the lease until the batch ends, and see whether the batch is to end early.

        Raises:
            LeaseLostError: Another gateway may have the batch by now.
        """
        settings = self._shop.settings
        lease = timedelta(seconds=settings.batch_lease_seconds)
        renewed_at = self._claimed_at
        while not self._is_ending:
            now, began = datetime.now(UTC), time.monotonic()
            try:
                async with asyncio.timeout(settings.batch_lease_seconds / 2):
                    values = {"leased_until": now + lease, **vars(self._tally)}
                    status = await self._forward(values)
                renewed_at = began
                if status == "cancelling" or now >= self._batch.expires_at:
                    self._stopping.set()
            except LeaseLostError:
                if self._is_ending:  # The last transaction came first.
                    return
                raise
            except (NotReadyError, TimeoutError) as error:
                if time.monotonic() - renewed_at > settings.batch_lease_seconds / 2:
                    raise LeaseLostError from error
            await asyncio.sleep(settings.batch_poll_seconds)

    async def work(self) -> None:
        """Bring the batch to its end.

        Raises:
            LeaseLostError: Another gateway has it.
            AirlockError: A part of this one does not work; the batch is to be taken up again.
        """
        batch, shop = self._batch, self._shop
        if batch.in_progress_at is None and not await self._validate():
            return
        folder = shop.shelf.folder / JOURNALS
        journal = await anyio.to_thread.run_sync(
            take_over, folder, batch.id, batch.claim, shop.shelf.seal
        )
        try:
            await self._answer_lines(journal)
            await self._finish(journal)
        finally:
            journal.close()

    async def _validate(self) -> bool:
        """See whether the file is a batch; end it when not."""
        batch, shop = self._batch, self._shop
        if batch.status == "cancelling" or batch.expires_at <= datetime.now(UTC):
            await self._end("cancelled" if batch.status == "cancelling" else "expired")
            return False
        checked = await anyio.to_thread.run_sync(
            check_lines, shop.shelf, batch.input_file_id, batch.endpoint, shop.settings
        )
        if checked.errors:
            await self._end("failed", errors=checked.errors)
            return False
        values = {"model": checked.model, "total": checked.total}
        status = await self._forward(
            {"status": "in_progress", "in_progress_at": datetime.now(UTC), **values},
            only_from=("validating",),
        )
        if status == "cancelling":
            await self._end("cancelled")
            return False
        self._total = checked.total
        return True

    async def _answer_lines(self, journal: Journal) -> None:
        shop = self._shop
        ended, self._tally = await anyio.to_thread.run_sync(_count, journal)
        # The key was good when the batch was made: what is known here must not be older.
        while shop.keeper.age_seconds > time.monotonic() - self._claimed_at:  # noqa: ASYNC110
            await asyncio.sleep(shop.settings.snapshot_poll_seconds)
        lines = read_lines(shop.shelf, self._batch.input_file_id, shop.settings)
        left = (each for each in lines if each.number not in ended)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._width()):
                tasks.create_task(self._take_lines(left, journal))

    def _width(self) -> int:
        """Return how many lines run at a time: never all of what their owner may have at a time."""
        try:
            directory = self._shop.keeper.current().directory
        except NotReadyError:
            return 1
        principal = directory.principal(self._batch.key_id, clock.now())
        most = 1 if principal is None else max(1, principal.tier.max_concurrent // 2)
        return min(most, self._shop.settings.batch_lines_at_a_time)

    async def _take_lines(self, lines: Iterator[Numbered], journal: Journal) -> None:
        while not self._stopping.is_set():
            async with self._reading:
                line = await anyio.to_thread.run_sync(partial(next, lines, None))
            if line is None:
                return
            ended = await self._answer(line.number, line.line)
            if ended is None:
                return
            async with self._writing:
                await anyio.to_thread.run_sync(journal.append, ended)
            self._tally.add(ended)
            self._shop.metrics.background.batch_lines.labels(_outcome(ended)).inc()

    async def _answer(self, number: int, line: Line) -> Ended | None:
        """Return what became of a line; None when the batch is to end before its turn comes."""
        endpoint, body = ENDPOINTS[self._batch.endpoint], bytes(line.body)
        wait = 0.5
        while True:
            async with self._shop.slots:
                if self._stopping.is_set():
                    return None
                answered = await self._shop.ask(
                    self._batch.key_id, endpoint, body, self._batch.door
                )
            if not isinstance(answered.error, WAITS):
                break
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            if await self._is_stopped_within(_wait_seconds(answered.error, wait)):
                return None
        is_answered = answered.status == 200
        result = answered_line(line.custom_id, answered.request_id, answered.status, answered.body)
        usage = answered.usage
        # An error tells nothing that a checkpoint knows.
        domains = tuple(sorted(answered.domains)) if is_answered else ()
        return Ended(
            number, is_answered, domains, usage.prompt_tokens, usage.completion_tokens, result
        )

    async def _is_stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _finish(self, journal: Journal) -> None:
        batch, shop = self._batch, self._shop
        now = datetime.now(UTC)
        status = await self._forward(
            {"status": "finalizing", "finalizing_at": now},
            only_from=("in_progress", "finalizing"),
        )
        is_complete = self._tally.completed + self._tally.failed == self._total
        state = "completed" if is_complete else "expired"
        if status == "cancelling":
            state = "cancelled"
        batch.total = self._total
        results = await anyio.to_thread.run_sync(
            write_results, batch, state, journal, shop.shelf, shop.settings, now
        )
        # What is written stays if this fails or is cancelled: it may have been entered all the
        # same. What was not is swept.
        await self._end(state, results)
        await anyio.to_thread.run_sync(journal.remove)

    async def _end(
        self,
        state: str,
        results: Results | None = None,
        errors: list[dict[str, object]] | None = None,
    ) -> None:
        values: dict[str, object] = {**vars(self._tally), "errors": errors}
        if results is not None:
            values |= {"completed": results.completed, "failed": results.failed}
            values["output_file_id"] = results.output.id if results.output else None
            values["error_file_id"] = results.errors.id if results.errors else None
        values |= {"status": state, "ended_at": datetime.now(UTC), "leased_until": None}
        self._is_ending = True
        async with self._shop.database.transaction() as session:
            session.add_all(results.files if results else [])
            await bring_forward(session, self._batch, values)
        self._shop.metrics.background.batches_ended.labels(state).inc()

    async def _forward(self, values: dict[str, object], only_from: tuple[str, ...] = OPEN) -> str:
        async with self._shop.database.transaction() as session:
            return await bring_forward(session, self._batch, values, only_from)


def _count(journal: Journal) -> tuple[set[int], Tally]:
    """Return which lines have ended, and how; their results stay where they are."""
    ended, tally = set(), Tally()
    for line in journal.read():
        ended.add(line.number)
        tally.add(line)
    return ended, tally


def _wait_seconds(error: AirlockError | None, wait: float) -> float:
    known = getattr(error, "retry_after_seconds", wait)
    # Lines that were turned away together need not come back together; secrecy is not needed.
    return min(float(known), LONGEST_WAIT_SECONDS) * random.uniform(1.0, 1.2)  # noqa: S311


def _outcome(ended: Ended) -> str:
    return "answered" if ended.is_answered else "failed"
