"""The snapshot: directory and catalogue at one version, kept current; it also cuts streams.

One task polls the version in the database and reloads both when it was raised. Another, which never
waits for the database, ends the running answers that are no longer covered: because a grant or key
ended, or because the snapshot has become too old to know.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.fernet import Fernet
from sqlalchemy import select

from gateway.dataplane.catalogue import Catalogue, load_catalogue
from gateway.db import Database
from gateway.errors import (
    AirlockError,
    GrantRevokedError,
    NotReadyError,
    ReleaseWithdrawnError,
)
from gateway.identity.directory import Directory, load_directory
from gateway.identity.principal import Principal
from gateway.metrics import Metrics
from gateway.policy.routing import Routed, missing_grants
from gateway.settings import Settings
from gateway.tables import AuthorizationVersion

WATCH_SECONDS = 0.2
VERSION = select(AuthorizationVersion.version)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """One version of who may use what."""

    version: int
    directory: Directory
    catalogue: Catalogue


@dataclass(eq=False, slots=True)
class RunningAnswer:
    """An answer on its way, and how to end it."""

    key_id: str
    routed: Routed
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
        pepper: bytes,
        cipher: Fernet,
        metrics: Metrics,
        on_change: Callable[[Catalogue], None],
    ) -> None:
        """Start without a snapshot; nothing is served until the first `refresh`."""
        self._settings = settings
        self._database = database
        self._pepper = pepper
        self._cipher = cipher
        self._metrics = metrics
        self._on_change = on_change
        self._snapshot: Snapshot | None = None
        self._current_at = float("-inf")
        self._running: set[RunningAnswer] = set()
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

    def check(self, snapshot: Snapshot, routed: Routed, principal: Principal) -> None:
        """Raise when a caller may not be served a checkpoint at this moment.

        Raises:
            GrantRevokedError: The caller's grants do not cover it (any more).
            ReleaseWithdrawnError: Its release does not count (any more).
            NotReadyError: The snapshot is too old to tell, and the checkpoint is not public.
        """
        family = snapshot.catalogue.families.get(routed.family)
        alias = family.by_label.get(routed.alias.label) if family else None
        if family is None or alias is None or alias.checkpoint != routed.alias.checkpoint:
            raise GrantRevokedError
        now = datetime.now(UTC)
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
        asked_at = time.monotonic()
        async with self._database.transaction() as session:
            # The version is read first: a change that lands during the reload raises it again.
            version = await session.scalar(VERSION)
            if version is None:
                raise NotReadyError("The database has no authorization version")
            if self._snapshot is None or version != self._snapshot.version:
                directory = await load_directory(session, self._pepper)
                catalogue = await load_catalogue(session, self._settings.engines, self._cipher)
                self._snapshot = Snapshot(version, directory, catalogue)
                self._on_change(catalogue)
        # Not the moment of the answer: what was read may be as old as the question.
        self._current_at = asked_at

    async def keep_current(self) -> None:
        """Refresh for ever; a failure leaves the snapshot to grow old."""
        while True:
            try:
                async with asyncio.timeout(self._settings.snapshot_max_age_seconds):
                    await self.refresh()
            except Exception:
                # Whatever it was: the snapshot grows old, and what depends on it is refused.
                log.warning("the snapshot could not be refreshed", exc_info=True)
            await asyncio.sleep(self._settings.snapshot_poll_seconds)

    async def watch(self) -> None:
        """Cut running answers that are no longer covered, for ever."""
        while True:
            self.cut_uncovered()
            await asyncio.sleep(WATCH_SECONDS)

    def cut_uncovered(self) -> None:
        """Cut the running answers that are no longer covered."""
        judged: dict[tuple[str, Routed], AirlockError | None] = {}
        for answer in list(self._running):
            of = (answer.key_id, answer.routed)
            if of not in judged:
                judged[of] = self._why_uncovered(*of)
            if (error := judged[of]) is not None and answer.cut_by is None:
                self._metrics.streams_cut.inc()
                answer.cut(error)

    def _why_uncovered(self, key_id: str, routed: Routed) -> AirlockError | None:
        try:
            snapshot = self.current()
            principal = snapshot.directory.principal(key_id, datetime.now(UTC))
            if principal is None:
                raise GrantRevokedError
            self.check(snapshot, routed, principal)
        except AirlockError as error:
            return error
        return None
