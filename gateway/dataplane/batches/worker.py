"""The worker: takes up batches that nobody works on, and clears away what is kept no longer."""

import asyncio
import logging
import time
from datetime import UTC, datetime

import anyio

from gateway.dataplane.batches.jobs import (
    CLAIMABLE,
    LeaseLostError,
    claim_batch,
    release_batch,
)
from gateway.dataplane.batches.run import Run, Workshop
from gateway.dataplane.batches.sweep import sweep
from gateway.errors import AirlockError
from gateway.tables import Batch
from gateway.trouble import Trouble

SWEEP_SECONDS = 60.0
log = logging.getLogger(__name__)


class Worker:
    """Works on batches, as long as the gateway serves."""

    def __init__(self, workshop: Workshop) -> None:
        """Work with what every run shares."""
        self._shop = workshop
        self._claimable = workshop.database.poll(CLAIMABLE)
        self._running: set[str] = set()
        self._swept_at = float("-inf")
        workshop.metrics.background.batches_running.set_function(self._running.__len__)

    async def run(self) -> None:
        """Work, for ever."""
        trouble = Trouble(log, "batches could not be looked for")
        async with asyncio.TaskGroup() as tasks:
            while True:
                with trouble.watched():
                    await self._look(tasks)
                await asyncio.sleep(self._shop.settings.batch_poll_seconds)

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        shop = self._shop
        while len(self._running) < shop.settings.batches_at_a_time:
            if await self._claimable.ask({"now": datetime.now(UTC)}) is None:
                break
            async with shop.database.transaction() as session:
                batch = await claim_batch(session, datetime.now(UTC), shop.settings)
            if batch is None:
                break
            self._running.add(batch.id)
            tasks.create_task(self._work(batch))
        if time.monotonic() - self._swept_at > SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            await sweep(shop.database, shop.shelf, shop.settings, datetime.now(UTC))

    async def _work(self, batch: Batch) -> None:
        """Work on one batch; whatever happens to it must not end the worker."""
        run = Run(batch, self._shop)
        which = {"airlock": {"batch": batch.id}}
        try:
            async with asyncio.TaskGroup() as pair:
                keeping = pair.create_task(run.keep_lease())
                await run.work()
                keeping.cancel()
        except* LeaseLostError:
            log.warning("a batch was lost to another worker", extra=which)
        except* Exception:  # Its lease ends by itself, and it is taken up again where it was.
            log.exception("a batch could not be brought forward", extra=which)
        finally:
            self._running.discard(batch.id)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                await self._release(batch)

    async def _release(self, batch: Batch) -> None:
        """Let another worker go on with a batch at once, since this one is stopped."""
        with anyio.move_on_after(self._shop.settings.audit_timeout_seconds, shield=True):
            try:
                async with self._shop.database.transaction() as session:
                    await release_batch(session, batch)
            except AirlockError:
                log.warning("a lease is left to end by itself")
