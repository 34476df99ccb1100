"""Counts what the data plane has in memory for the metrics: aliases, engines, grants."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

from gateway.dataplane.pool import Pool
from gateway.dataplane.replica import NEVER
from gateway.dataplane.snapshot import Snapshot, SnapshotKeeper
from gateway.errors import NotReadyError
from gateway.inventory import Inventory, Labels
from gateway.trouble import Trouble

ENDING_DAYS = (1, 7, 30)
PEOPLE_AT_A_TIME = 500
"""Between two of so many, requests have their turn: they take about a millisecond."""
log = logging.getLogger(__name__)


class Census:
    """Counts from time to time."""

    def __init__(
        self, keeper: SnapshotKeeper, pool: Pool, inventory: Inventory, seconds: float
    ) -> None:
        """Count what `keeper` and `pool` hold into `inventory`, every so many seconds."""
        self._keeper = keeper
        self._pool = pool
        self._inventory = inventory
        self._seconds = seconds

    async def run(self) -> None:
        """Count, for ever."""
        trouble = Trouble(log, "the data plane could not be counted")
        while True:
            # The next count may be good, and `counted_at` says that none was. Where there is no
            # snapshot its age says so.
            with trouble.watched(), contextlib.suppress(NotReadyError):
                await self.count(datetime.now(UTC))
            await asyncio.sleep(self._seconds)

    async def count(self, now: datetime) -> None:
        """Count once.

        Raises:
            NotReadyError: There is no snapshot.
        """
        snapshot = self._keeper.current()
        self._count_aliases(snapshot, now)
        self._count_engines()
        await self._count_grants(snapshot, now)
        self._inventory.counted_at.labels("dataplane").set(now.timestamp())

    def _count_aliases(self, snapshot: Snapshot, now: datetime) -> None:
        catalogue = snapshot.catalogue
        checkpoints = {
            f"{family.name}:{alias.label}": alias.checkpoint
            for family in catalogue.families.values()
            for alias in family.aliases
        }
        replace = self._inventory.replace
        replace("alias", dict.fromkeys(checkpoints.items(), 1.0))
        replace(
            "alias_open",
            {(name,): catalogue.why_withdrawn(name, now) is None for name in checkpoints},
        )
        replace(
            "alias_engines",
            {(name,): self._pool.serves(digest) for name, digest in checkpoints.items()},
        )
        replace(
            "release_expiry",
            {(name,): moment.timestamp() for name, moment in catalogue.expires_at.items()},
        )

    def _count_engines(self) -> None:
        now = time.monotonic()
        replicas = self._pool.replicas()
        labels = [(one.address.url, one.address.digest) for one in replicas]
        of = list(zip(labels, replicas, strict=True))
        replace = self._inventory.replace
        replace("engine_in_flight", {label: float(one.in_flight) for label, one in of})
        replace(
            "attestation_age",
            {label: now - one.attested_at for label, one in of if one.attested_at > NEVER},
        )
        replace(
            "fingerprint_age",
            {label: now - one.replayed_at for label, one in of if one.replayed_at > NEVER},
        )

    async def _count_grants(self, snapshot: Snapshot, now: datetime) -> None:
        states: Counter[Labels] = Counter()
        ending: Counter[Labels] = Counter()
        moments = [(str(days), now + timedelta(days=days)) for days in ENDING_DAYS]
        for number, grants in enumerate(snapshot.directory.grants.values()):
            for grant in grants:
                state = grant.state(now)
                states[grant.domain, state] += 1
                for days, moment in moments:
                    ending[grant.domain, days] += state == "active" and grant.ends_at <= moment
            if number % PEOPLE_AT_A_TIME == PEOPLE_AT_A_TIME - 1:
                await asyncio.sleep(0)
        self._inventory.replace("grants", states)
        self._inventory.replace("grants_ending", ending)
