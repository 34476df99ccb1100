"""When keys were last used, to the minute: noted in memory, written once a minute in one go.

A use that was noted less than a minute before a crash is lost; no request waits for a write.
"""

import asyncio
import logging
from datetime import UTC, datetime

import anyio
from sqlalchemy import bindparam, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db import Database
from gateway.tables import ApiKey
from gateway.trouble import Trouble

WRITE_SECONDS = 60.0
LAST_WRITE_SECONDS = 5.0
MAX_ROWS = 1000
"""In one transaction, so that no other waits for long."""
WRITE = (
    update(ApiKey)
    .where(
        ApiKey.id == bindparam("key_id"),
        or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < bindparam("at")),
    )
    .values(last_used_at=bindparam("at"))
)
log = logging.getLogger(__name__)


async def write_use(session: AsyncSession, key_id: str, now: datetime) -> None:
    """Write that a key is used now, together with what it is used for."""
    at = now.replace(second=0, microsecond=0)
    await (await session.connection()).execute(WRITE, [{"key_id": key_id, "at": at}])


class KeyUses:
    """The uses that are not written yet."""

    def __init__(self) -> None:
        """Start with none."""
        self._minutes: dict[str, int] = {}
        self._trouble = Trouble(log, "the last uses of keys could not be written")

    def note(self, key_id: str, seconds: float) -> None:
        """Note that a key is used at a moment, in seconds since the epoch."""
        self._minutes[key_id] = int(seconds) // 60

    async def write(self, database: Database) -> None:
        """Write what was noted; what could not be written is noted still.

        Raises:
            NotReadyError: The database is down.
        """
        # By id, so that two replicas lock rows in the same order.
        noted = sorted(self._minutes.items())
        for start in range(0, len(noted), MAX_ROWS):
            part = noted[start : start + MAX_ROWS]
            rows = [
                {"key_id": key_id, "at": datetime.fromtimestamp(minute * 60, UTC)}
                for key_id, minute in part
            ]
            async with database.transaction() as session:
                await (await session.connection()).execute(WRITE, rows)
            for key_id, minute in part:
                if self._minutes.get(key_id) == minute:
                    del self._minutes[key_id]

    async def keep(self, database: Database) -> None:
        """Write once a minute, for ever, and once more when it is ended."""
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS)
                await self._try_to_write(database)
        finally:
            # A database that is silent, not down, would keep the gateway from ending.
            with anyio.move_on_after(LAST_WRITE_SECONDS, shield=True):
                await self._try_to_write(database)

    async def _try_to_write(self, database: Database) -> None:
        # These are for people to look at, and are written a minute later; requests go on.
        with self._trouble.watched():
            await self.write(database)
