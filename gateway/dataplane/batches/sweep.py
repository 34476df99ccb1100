"""Clearing away: files whose time is over, and contents that no row speaks of."""

from datetime import datetime, timedelta
from itertools import islice

import anyio.to_thread

from gateway.dataplane.batches.files import delete_expired, known
from gateway.dataplane.batches.jobs import delete_ended, open_batches
from gateway.dataplane.batches.shelf import JOURNALS, Shelf, older_than, remove
from gateway.db import Database
from gateway.settings import Settings

ORPHAN_SECONDS = 3600.0
"""A content is there before its row, by seconds: one that is an hour old will have none."""
AT_ONCE = 500


async def sweep(database: Database, shelf: Shelf, settings: Settings, now: datetime) -> None:
    """Delete what is kept no longer.

    Raises:
        NotReadyError: The database is down.
        StorageUnavailableError: The folder is not there.
    """
    async with database.transaction() as session:
        expired = await delete_expired(session, now)
        await delete_ended(session, now - timedelta(days=settings.file_days))
    for file_id in expired:
        await anyio.to_thread.run_sync(shelf.remove, file_id)
    age = ORPHAN_SECONDS + settings.upload_timeout_seconds
    for folder, find in ((shelf.folder, known), (shelf.folder / JOURNALS, open_batches)):
        names = iter(await anyio.to_thread.run_sync(older_than, folder, age))
        while some := list(islice(names, AT_ONCE)):
            # A journal's name is its batch's and a number.
            of = {name: name.partition(".")[0] for name in some}
            async with database.transaction() as session:
                kept = await find(session, sorted(set(of.values())))
            for name in (name for name, whose in of.items() if whose not in kept):
                await anyio.to_thread.run_sync(remove, folder, name)
