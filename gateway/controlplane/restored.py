"""Notices a database that was brought back to an earlier time, and closes every door.

What was revoked since then counts again in such a database. Three things know better: the memory of
a running gateway, a file beside the uploaded ones, in which gateways keep the highest authorization
version that they have seen, and the audit log's witness. Whoever of them knows more than the
database has every grant closed, by a closure that only two people lift
(`gateway.controlplane.breakglass`), and raises the version above all that was ever seen.
"""

import asyncio
import logging
import uuid
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, record_change
from gateway.db import Database
from gateway.errors import ConfigurationError, NotReadyError
from gateway.tables import AuditHead, AuthorizationVersion, Closure
from gateway.trouble import Trouble
from models.documents import write_bytes
from models.errors import RegistryError

ACTOR = "restore"
CLOSURES = uuid.UUID("2a1f7a52-6f0c-4d3c-9f6e-6c2d6c8f3a11")
"""The namespace of closures whose cause is known by a name, so that each closes once."""
FILE = "epoch/version"
"""Apart from the contents, which are all that lies in the folder itself."""
KEEP_SECONDS = 0.25
log = logging.getLogger(__name__)


class Epoch:
    """The highest authorization version that was ever seen here."""

    def __init__(self, files: Path, database: Database) -> None:
        """Take up where the file in the folder `files` was left; without one, begin.

        Raises:
            ConfigurationError: There is one, and it cannot be understood.
        """
        # The one folder that every gateway writes.
        self._file = files / FILE
        self._database = database
        self._written = self._highest = read_epoch(self._file)

    async def check(self, session: AsyncSession, version: int) -> int:
        """Return the version that counts: the given one, or a new one after closing every door.

        Raises:
            NotReadyError: Another gateway is closing them at this moment.
        """
        if version < self._highest:
            reason = f"the database has version {version}, and {self._highest} was seen"
            version = await close_everything(
                session, reason, above=self._highest, now=datetime.now(UTC)
            )
            # Not before: during a recovery nothing can be written, and this is tried again.
            log.error("%s: every grant is closed until two people lift it", reason)
        self._highest = version
        return version

    async def witnessed(self, size: int, is_forked: bool) -> None:
        """Close every door if the witness has cosigned another log than this; once for each size.

        Args:
            size: How many entries the witness has cosigned.
            is_forked: Whether this log did not grow out of those; else it may be shorter.

        Raises:
            NotReadyError: The database did not answer.
        """
        async with self._database.transaction() as session:
            closure_id = str(uuid.uuid5(CLOSURES, f"witness {size}"))
            have = await session.scalar(select(AuditHead.size))
            known = await session.get(Closure, closure_id)
            if known is not None or have is None or (have >= size and not is_forked):
                return
            reason = f"the audit log has {have} entries, and {size} others were witnessed"
            await close_everything(
                session, reason, above=self._highest, now=datetime.now(UTC), closure_id=closure_id
            )
            log.error("%s: every grant is closed until two people lift it", reason)

    async def keep(self) -> None:
        """Write the file whenever the version was raised, for ever; no request waits for it."""
        trouble = Trouble(log, f"{self._file} could not be written")
        while True:
            if self._highest > self._written:
                try:
                    await anyio.to_thread.run_sync(write_epoch, self._file, self._highest)
                    self._written = self._highest
                    trouble.worked()
                except (OSError, RegistryError, ConfigurationError):
                    trouble.failed()
            await asyncio.sleep(KEEP_SECONDS)


async def close_everything(
    session: AsyncSession,
    reason: str,
    *,
    above: int,
    now: datetime,
    closure_id: str | None = None,
) -> int:
    """Close every domain for everybody and return the new version, which is higher than `above`.

    Args:
        session: The transaction.
        reason: Why, for whoever is to lift it.
        above: The highest version that was ever seen.
        now: The moment.
        closure_id: Of the closure, where its cause has a name.

    Raises:
        NotReadyError: Somebody else has done so since the caller looked.
    """
    closure = Closure(
        id=closure_id or str(uuid.uuid4()),
        domain=None,
        reason=f"restored: {reason}"[:1000],
        closed_by=ACTOR,
        closed_at=now,
    )
    session.add(closure)
    await record_change(
        session, Tag.DOOR_CLOSED, closure.id, actor=ACTOR, now=now, domain=None, reason=reason
    )
    # The head of the log is locked now, so that nobody else is here; somebody may have been.
    reached = await session.scalar(select(AuthorizationVersion.version)) or 0
    if closure_id is None and reached > above + 1:
        raise NotReadyError("Another gateway has closed the doors")
    version = max(reached, above + 1)
    await session.execute(update(AuthorizationVersion).values(version=version))
    return version


def read_epoch(file: Path) -> int:
    """Return what the file says; 0 if there is none.

    Raises:
        ConfigurationError: It cannot be understood: it may have known of a revocation.
    """
    try:
        return int(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{file} cannot be understood; it holds the highest authorization version that was "
            "seen. If the database was never restored, remove it"
        ) from error


def write_epoch(file: Path, version: int) -> None:
    """Write a version, unless another gateway has written a higher one.

    Raises:
        ConfigurationError: What is there cannot be understood.
        OSError, RegistryError: The folder cannot be written.
    """
    if version > read_epoch(file):
        for folder in (file.parent.parent, file.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_bytes(file, b"%d\n" % version, mode=0o600)
