"""Notices a database that was brought back to an earlier time, and closes every door.

What was revoked since then counts again in such a database. Three things know better: the memory of
a running gateway, files beside the uploaded ones, in which gateways keep the highest authorization
version that they have seen, and the audit log's witness. Whoever of them knows more than the
database, or has seen another history of it, has every grant closed, by a closure that only two
people lift (`gateway.controlplane.breakglass`), ends what is good once (`passing`), and raises the
version above all that was ever seen.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.passing import end_what_passes
from gateway.db import Database
from gateway.errors import ConfigurationError, NotReadyError
from gateway.tables import AuditHead, AuthorizationChange, AuthorizationVersion, Closure
from gateway.trouble import Trouble
from models.documents import write_bytes
from models.errors import RegistryError

ACTOR = "restore"
CLOSURES = uuid.UUID("2a1f7a52-6f0c-4d3c-9f6e-6c2d6c8f3a11")
"""The namespace of closures whose cause is known by a name, so that each closes once."""
FOLDER = "epoch"
"""Apart from the contents, which are all that lies in the folder itself."""
FILE = f"{FOLDER}/version"
HISTORY = f"{FOLDER}/history"
"""Beside the other file, which a release before this one reads, too."""
KEEP_SECONDS = 0.25
log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """A version of a history: what was seen of one is there for as long as the history goes on."""

    version: int
    mark: str


class Epoch:
    """The highest authorization version that was ever seen here, and the history that it is of."""

    def __init__(self, files: Path, database: Database) -> None:
        """Take up where the file in the folder `files` was left; without one, begin.

        Raises:
            ConfigurationError: There is one, and it cannot be understood.
        """
        # The one folder that every gateway writes.
        self._file, self._history = files / FILE, files / HISTORY
        self._database = database
        self._highest = read_epoch(self._file)
        seen = read_history(self._history)
        # One beyond the version is of a database that was there before somebody began anew.
        self._seen = seen if seen is not None and seen.version <= self._highest else None
        self._written = (self._highest, self._seen)

    async def check(self, session: AsyncSession, version: int) -> int:
        """Return the version that counts: the given one, or a new one after closing every door.

        Raises:
            NotReadyError: Another gateway is closing them at this moment.
        """
        reason = await self._why_restored(session, version)
        if reason is not None:
            above = max(version, self._highest)
            version = await close_everything(session, reason, above=above, now=datetime.now(UTC))
            # Not before: during a recovery nothing can be written, and this is tried again.
            log.error("%s: every grant is closed until two people lift it", reason)
        mark = await _mark_of(session, version)
        self._seen = None if mark is None else Seen(version, mark)
        self._highest = version
        return version

    async def _why_restored(self, session: AsyncSession, version: int) -> str | None:
        if version < self._highest:
            return f"the database has version {version}, and {self._highest} was seen"
        if self._seen is None:
            return None
        # Changes that were made to a restored database may have taken it past what was seen.
        mark = await _mark_of(session, self._seen.version)
        if mark in (None, self._seen.mark):
            return None  # None: so long ago that nobody has kept it.
        return f"the database has another version {self._seen.version} than was seen"

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
        """Write the files whenever the version was raised, for ever; no request waits for it."""
        trouble = Trouble(log, f"{self._file} could not be written")
        while True:
            now = (highest, seen) = (self._highest, self._seen)
            if now != self._written:
                try:
                    await anyio.to_thread.run_sync(write_epoch, self._file, highest)
                    if seen is not None:
                        await anyio.to_thread.run_sync(write_history, self._history, seen)
                    self._written = now
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
    detail = {"domain": None, "reason": reason, "ended": await end_what_passes(session, now)}
    await record_change(session, Tag.DOOR_CLOSED, closure.id, actor=ACTOR, now=now, **detail)
    # The head of the log is locked now, so that nobody else is here; somebody may have been.
    reached = await session.scalar(select(AuthorizationVersion.version)) or 0
    if closure_id is None and reached > above + 1:
        raise NotReadyError("Another gateway has closed the doors")
    version = max(reached, above + 1)
    await session.execute(update(AuthorizationVersion).values(version=version))
    # Of the history that was seen elsewhere these are no part; who looks for it has looked.
    others = AuthorizationChange.version != version
    await session.execute(delete(AuthorizationChange).where(others))
    return version


async def _mark_of(session: AsyncSession, version: int) -> str | None:
    """Return what a version was marked with; None where it is not kept."""
    query = select(AuthorizationChange.mark).where(AuthorizationChange.version == version)
    found: str | None = await session.scalar(query)
    return found


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


@contextmanager
def ahead(files: Path, version: int) -> Iterator[None]:
    """Let a version count as seen while an earlier database is put in place, and from then on.

    Where that fails, what is there is the database that was there.
    """
    file = files / FILE
    before = read_epoch(file)
    write_epoch(file, version)
    try:
        yield
    except BaseException:
        if before:
            write_bytes(file, b"%d\n" % before, mode=0o600)
        else:
            file.unlink()
        raise


def read_history(file: Path) -> Seen | None:
    """Return what the other file says; None if there is none.

    Raises:
        ConfigurationError: It cannot be understood.
    """
    try:
        version, _, mark = file.read_text().strip().partition(" ")
        return Seen(int(version), mark)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{file} cannot be understood; it names the history of authorization versions that was "
            "seen. If the database was never restored, remove it"
        ) from error


def write_history(file: Path, seen: Seen) -> None:
    """Write what was seen; the version beside it is there, and as high.

    Raises:
        OSError, RegistryError: The folder cannot be written.
    """
    write_bytes(file, f"{seen.version} {seen.mark}\n".encode(), mode=0o600)
