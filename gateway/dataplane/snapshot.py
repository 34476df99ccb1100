"""The snapshot: directory and catalogue at one version, kept current; it also cuts streams.

One task polls the version in the database, at once when the database announces a change, and reads
again what was changed. Another, which never waits for the database, ends the running answers that
are no longer covered: because a grant or key ended, or because the snapshot has become too old to
know. Announcements only save time: a channel that is silent costs nothing but the poll's interval.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from cryptography.fernet import Fernet
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import clock
from gateway.dataplane.catalogue import Catalogue, load_catalogue
from gateway.db import Database
from gateway.errors import (
    AirlockError,
    GrantRevokedError,
    NotReadyError,
    ReleaseWithdrawnError,
)
from gateway.identity.changed import VERSION, Version, changes_between, follow, read_version
from gateway.identity.directory import Directory, load_directory
from gateway.identity.peppers import Peppers
from gateway.identity.principal import Principal
from gateway.identity_errors import InsufficientScopeError
from gateway.metrics import Metrics
from gateway.policy.routing import Routed, missing_grants
from gateway.settings import Settings
from gateway.trouble import Trouble

WATCH_SECONDS = 0.2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """One version of who may use what."""

    version: Version
    directory: Directory
    catalogue: Catalogue


class RunningAnswer(Struct, eq=False):
    """An answer on its way, and how to end it."""

    key_id: str
    routed: Routed
    path: str
    """Of the endpoint that was asked."""
    task: asyncio.Task[object]
    cut_by: Exception | None = None
    is_over: bool = False

    def cut(self, error: Exception) -> None:
        """End the answer; whoever writes it tells the caller why."""
        if self.cut_by is None and not self.is_over:
            self.cut_by = error
            self.task.cancel()


class SnapshotKeeper:
    """Holds the current snapshot and the running answers that rest on it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        peppers: Peppers,
        cipher: Fernet,
        metrics: Metrics,
        on_change: Callable[[Catalogue], None],
        check_version: Callable[[AsyncSession, int], Awaitable[int]],
    ) -> None:
        """Start without a snapshot; nothing is served until the first `refresh`."""
        self._settings = settings
        self._database = database
        self._version = database.poll(VERSION)
        self._peppers = peppers
        self._cipher = cipher
        self._metrics = metrics
        self._on_change = on_change
        self._check_version = check_version
        self._snapshot: Snapshot | None = None
        self._current_at = float("-inf")
        self._running: set[RunningAnswer] = set()
        self._announced = asyncio.Event()
        metrics.snapshot_age.set_function(lambda: min(self.age_seconds, 1e9))

    @property
    def age_seconds(self) -> float:
        """How long ago the snapshot was last known to be current."""
        return time.monotonic() - self._current_at

    def current(self) -> Snapshot:
        """Return the snapshot.

        Raises:
            NotReadyError: There is none, or it is too old to serve anybody.
        """
        if self._snapshot is None or self.age_seconds > self._settings.snapshot_max_age_seconds:
            raise NotReadyError
        return self._snapshot

    def check(
        self, snapshot: Snapshot, routed: Routed, principal: Principal, now: datetime
    ) -> None:
        """Raise when a caller may not be served a checkpoint at this moment, which is `now`.

        Raises:
            GrantRevokedError: The caller's grants do not cover it (any more).
            ReleaseWithdrawnError: Its release does not count (any more).
            NotReadyError: The snapshot is too old to tell, and the checkpoint is not public.
        """
        family = snapshot.catalogue.families.get(routed.family)
        alias = family.by_label.get(routed.alias.label) if family else None
        if family is None or alias is None or alias.checkpoint != routed.alias.checkpoint:
            raise GrantRevokedError
        if missing_grants(family, alias, principal.domains(now)):
            raise GrantRevokedError
        if snapshot.catalogue.why_withdrawn(routed.name, now) is not None:
            raise ReleaseWithdrawnError(routed.name)
        fresh = self.age_seconds <= self._settings.privileged_max_age_seconds
        if not fresh and not snapshot.catalogue.is_public(routed.family, alias):
            raise NotReadyError

    def add(self, answer: RunningAnswer) -> None:
        """Watch a running answer."""
        self._running.add(answer)

    def remove(self, answer: RunningAnswer) -> None:
        """Stop watching an answer that has ended."""
        self._running.discard(answer)

    async def refresh(self) -> None:
        """Look at the version, and reload when it was raised.

        Raises:
            NotReadyError: The database is down.
        """
        asked_at, held = time.monotonic(), self._snapshot
        if held is None or await self._version.ask() != held.version:
            asked_at = time.monotonic()
            self._snapshot = await self._reload(held)
        if self._current_at > float("-inf"):
            self._metrics.health.snapshot_lag_seconds.observe(self.age_seconds)
        # Not the moment of the answer: what was read may be as old as the question.
        self._current_at = asked_at
        if self._snapshot is not held:
            self.cut_uncovered()

    async def _reload(self, held: Snapshot | None) -> Snapshot:
        async with self._database.transaction() as session:
            # The version is read first: a change that lands during the reload raises it again.
            version = await read_version(session)
            if version is not None and await self._raised(session, version):
                version = await read_version(session)
            if version is None:
                raise NotReadyError("The database has no authorization version")
            if held is not None and version == held.version:
                return held
            return await self._read(session, held, version)

    async def _raised(self, session: AsyncSession, version: Version) -> bool:
        """Whether the version had gone down: in a restored database every door is closed first."""
        return await self._check_version(session, version.number) != version.number

    async def _read(
        self, session: AsyncSession, held: Snapshot | None, version: Version
    ) -> Snapshot:
        changes = None if held is None else await changes_between(session, held.version, version)
        if held is None or changes is None:
            directory = await load_directory(session, self._peppers)
        else:
            directory = await follow(session, held.directory, changes)
            if not changes.catalogue:
                return Snapshot(version, directory, held.catalogue)
        catalogue = await load_catalogue(session, self._settings.engines, self._cipher)
        self._on_change(catalogue)
        return Snapshot(version, directory, catalogue)

    async def keep_current(self) -> None:
        """Refresh for ever; a failure leaves the snapshot to grow old."""
        trouble = Trouble(log, "the snapshot could not be refreshed")
        while True:
            self._announced.clear()
            # Otherwise the snapshot grows old, and what depends on it is refused.
            with trouble.watched():
                async with asyncio.timeout(self._settings.snapshot_max_age_seconds):
                    await self.refresh()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.snapshot_poll_seconds):
                    await self._announced.wait()

    def look_again(self, _: str) -> None:
        """Refresh the snapshot now, since a change was announced."""
        self._announced.set()

    async def watch(self) -> None:
        """Cut running answers that are no longer covered, for ever."""
        while True:
            self.cut_uncovered()
            # The moment at which the snapshot becomes too old for a base answer is not missed.
            left = self._settings.privileged_max_age_seconds - self.age_seconds
            seconds = left + 0.001 if 0 < left < WATCH_SECONDS else WATCH_SECONDS
            slept_at = time.monotonic()
            await asyncio.sleep(seconds)
            late = time.monotonic() - slept_at - seconds
            self._metrics.health.loop_lag_seconds.observe(max(0.0, late))

    def cut_uncovered(self) -> None:
        """Cut the running answers that are no longer covered."""
        judged: dict[tuple[str, Routed, str], AirlockError | None] = {}
        for answer in list(self._running):
            of = (answer.key_id, answer.routed, answer.path)
            if of not in judged:
                judged[of] = self._why_uncovered(*of)
            if (error := judged[of]) is not None and answer.cut_by is None:
                self._metrics.streams_cut.inc()
                answer.cut(error)

    def check_again(self, key_id: str, routed: Routed, path: str) -> None:
        """Raise when a caller who was let in may not be served a checkpoint any more.

        Raises:
            AirlockError: As `current` and `check` do; GrantRevokedError for a key that has ended,
                InsufficientScopeError for one that is narrowed to other paths by now.
        """
        snapshot, now = self.current(), clock.now()
        principal = snapshot.directory.principal(key_id, now)
        if principal is None:
            raise GrantRevokedError
        if not principal.terms.may_ask(path):
            raise InsufficientScopeError(path)
        self.check(snapshot, routed, principal, now)

    def _why_uncovered(self, key_id: str, routed: Routed, path: str) -> AirlockError | None:
        try:
            self.check_again(key_id, routed, path)
        except AirlockError as error:
            return error
        return None
