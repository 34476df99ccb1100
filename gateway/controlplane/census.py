"""Counts for the metrics what the database and the registry hold, and what the log has gained."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.entry import read_leaf
from gateway.audit.intents import DENIED, ENDED, INTENDED
from gateway.controlplane.backup import newest_backups
from gateway.controlplane.certificates import expiries
from gateway.controlplane.changes import Tag
from gateway.controlplane.gate_metrics import GateMetrics
from gateway.controlplane.registry import Registry
from gateway.db import Database
from gateway.identity.secret import secret_path
from gateway.inventory import Inventory, Labels
from gateway.policy.applications import OPEN, State, state_at
from gateway.settings import Settings
from gateway.tables import ApiKey, Application, AuditEntry, AuditHead, Closure, Person
from gateway.trouble import Trouble

DECISIONS = (State.APPROVED, State.RETURNED, State.REJECTED)
DECIDED_BY = (Tag.APPLICATION_APPROVED, Tag.APPLICATION_RETURNED, Tag.APPLICATION_REJECTED)
WAITING = OPEN - {State.DRAFT, State.RETURNED}
"""Open states in which it is for somebody to act, and not for the applicant to edit."""
CERTIFICATES_SECONDS = 600.0
log = logging.getLogger(__name__)


class Census:
    """Counts from time to time."""

    def __init__(
        self, settings: Settings, database: Database, registry: Registry, inventory: Inventory
    ) -> None:
        """Count into `inventory`; what the log holds already has happened before."""
        self._settings = settings
        self._database = database
        self._registry = registry
        self._inventory = inventory
        self._gate = GateMetrics(settings.home, inventory)
        self._next_entry: int | None = None
        self._certificates_at = float("-inf")
        tags = (*map(str, Tag), INTENDED, ENDED, DENIED)
        inventory.prepare(tags, map(str, DECISIONS))

    async def run(self) -> None:
        """Count, for ever."""
        trouble = Trouble(log, "the control plane could not be counted")
        while True:
            # The next count may be good, and `counted_at` says that none was.
            with trouble.watched():
                await self.count(datetime.now(UTC))
            await asyncio.sleep(self._settings.census_seconds)

    async def count(self, now: datetime) -> None:
        """Count once.

        Raises:
            NotReadyError: The database is down.
        """
        async with self._database.transaction() as session:
            await self._count_people(session, now)
            await self._count_applications(session, now)
            await self._follow_log(session)
            backups = await newest_backups(session)
        self._inventory.replace("backup", {(of,): at.timestamp() for of, at in backups.items()})
        releases, trust = self._registry.releases, self._registry.trust
        await self._gate.count(releases)
        self._inventory.replace(
            "trust_key_expiry",
            {
                (key.keyid[:12], role): key.expires_at.timestamp()
                for key in trust.keys
                for role in key.roles
                if key.revoked_at is None
            },
        )
        ages = await anyio.to_thread.run_sync(secret_ages, self._settings)
        self._inventory.replace("secret_age", {(name,): age for name, age in ages.items()})
        await self._look_at_certificates()
        self._inventory.counted_at.labels("controlplane").set(now.timestamp())

    async def _count_people(self, session: AsyncSession, now: datetime) -> None:
        people = await session.execute(
            select(Person.tier, Person.state, func.count()).group_by(Person.tier, Person.state)
        )
        self._inventory.replace("people", {(tier, state): n for tier, state, n in people})
        oldest = await session.execute(
            select(ApiKey.kind, func.min(ApiKey.created_at))
            .where(
                (ApiKey.revoked_at.is_(None)) | (ApiKey.revoked_at > now),
                (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > now),
            )
            .group_by(ApiKey.kind)
        )
        ages: dict[Labels, float] = {
            (kind,): (now - created_at).total_seconds() for kind, created_at in oldest
        }
        self._inventory.replace("api_key_age", ages)
        closed = await session.scalars(select(Closure.domain).where(Closure.lifted_at.is_(None)))
        self._inventory.replace("doors_closed", {(domain or "all",): 1.0 for domain in closed})

    async def _count_applications(self, session: AsyncSession, now: datetime) -> None:
        counts = dict.fromkeys(State, 0)
        waiting = dict.fromkeys(sorted(WAITING), 0.0)
        rows = await session.execute(
            select(Application.state, Application.since).where(Application.state.in_(OPEN))
        )
        for name, since in rows:
            state = state_at(State(name), since, now)
            counts[state] += 1
            if state in waiting:
                waiting[state] = max(waiting[state], (now - since).total_seconds())
        closed = await session.execute(
            select(Application.state, func.count())
            .where(Application.state.not_in(OPEN))
            .group_by(Application.state)
        )
        for name, number in closed:
            counts[State(name)] += number
        replace = self._inventory.replace
        replace("applications", {(str(state),): float(n) for state, n in counts.items()})
        replace("application_waiting", {(str(state),): age for state, age in waiting.items()})

    async def _follow_log(self, session: AsyncSession) -> None:
        """Count the entries since the last look; numbers have no gaps, so none is passed over."""
        size = await session.scalar(select(AuditHead.size)) or 0
        first, self._next_entry = self._next_entry, size
        if first is None:
            return
        new = (AuditEntry.seq >= first, AuditEntry.seq < size)
        rows = await session.execute(
            select(AuditEntry.tag, func.count()).where(*new).group_by(AuditEntry.tag)
        )
        for tag, number in rows:
            self._inventory.log_entries.labels(tag).inc(number)
        decided = select(AuditEntry).where(*new, AuditEntry.tag.in_(map(str, DECIDED_BY)))
        for entry in await session.scalars(decided):
            await self._count_decision(session, entry)

    async def _count_decision(self, session: AsyncSession, entry: AuditEntry) -> None:
        state = str(read_leaf(entry.leaf).entry.detail.get("state"))
        if state not in DECISIONS:
            return  # The first of two approvals.
        submitted = select(func.max(AuditEntry.at)).where(
            AuditEntry.subject == entry.subject,
            AuditEntry.tag.in_((str(Tag.APPLICATION_SUBMITTED), str(Tag.APPLICATION_APPEALED))),
            AuditEntry.seq < entry.seq,
        )
        submitted_at = await session.scalar(submitted)
        if submitted_at is not None:
            took = (entry.at - submitted_at).total_seconds()
            self._inventory.decision_seconds.labels(state).observe(took)

    async def _look_at_certificates(self) -> None:
        if time.monotonic() < self._certificates_at + CERTIFICATES_SECONDS:
            return
        self._certificates_at = time.monotonic()
        found = await expiries(self._settings)
        self._inventory.replace(
            "certificate_expiry", {(host,): moment.timestamp() for host, moment in found.items()}
        )


def secret_ages(settings: Settings) -> dict[str, float]:
    """Return how many seconds ago each secret's file was written; of engines' keys the oldest."""
    files: dict[str, list[Path]] = {
        "gateway": [secret_path(settings)],
        "database": [settings.database_password_file] if settings.database_password_file else [],
        "redis": [settings.redis_password_file] if settings.redis_password_file else [],
        "engine": [engine.api_key_file for engine in settings.engines],
        "issuer": [i.client_secret_file for i in settings.issuers if i.client_secret_file],
    }
    now = time.time()
    ages = {
        name: [now - path.stat().st_mtime for path in paths if path.is_file()]
        for name, paths in files.items()
    }
    return {name: max(found) for name, found in ages.items() if found}
