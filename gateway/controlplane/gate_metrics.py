"""What the gate has said of the checkpoints that are released now, as metrics."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from gateway.inventory import Inventory, Labels
from models.errors import RegistryError
from models.release import Release
from models.report import right_answers
from models.store import CheckpointStore

Z = 1.959963984540054
"""The normal distribution's 97.5th percentile: an interval of 95 %."""
log = logging.getLogger(__name__)


class GateMetrics:
    """Shows verdicts; reads a report once for each release, since it may be megabytes long."""

    def __init__(self, home: Path, inventory: Inventory) -> None:
        """Read reports from the store under `home`."""
        self._store = CheckpointStore(home / "store")
        self._inventory = inventory
        self._shown: set[str] = set()

    async def count(self, releases: Sequence[Release]) -> None:
        """Show what these releases rest on."""
        digests = {release.document_digest for release in releases}
        if digests == self._shown:
            return
        judged = [(release.alias, release.verdict) for release in releases if release.verdict]
        replace = self._inventory.replace
        replace("gate_passed", {(alias,): v.outcome == "PASS" for alias, v in judged})
        rules = {(alias, rule.rule): rule for alias, verdict in judged for rule in verdict.rules}
        replace("gate_value", {labels: rule.value for labels, rule in rules.items()})
        replace("gate_limit", {labels: rule.limit for labels, rule in rules.items()})
        accuracy: dict[Labels, float] = {}
        for alias, verdict in judged:
            found = await anyio.to_thread.run_sync(self._accuracy, alias, verdict.report)
            accuracy.update(found)
        replace("gate_accuracy", accuracy)
        self._shown = digests

    def _accuracy(self, alias: str, digest: str) -> dict[Labels, float]:
        """Return the shares of right answers that a report holds; none where it is not here."""
        try:
            report = self._store.get_report(digest)
        except RegistryError:
            log.warning("the report of %s cannot be read for the metrics", alias)
            return {}
        found: dict[Labels, float] = {}
        for subset in report.subsets:
            for of, items in (("base", subset.base), ("candidate", subset.candidate)):
                bounds = wilson(right_answers(items), subset.n)
                for bound, value in bounds._asdict().items():
                    found[alias, subset.name, of, bound] = value
        return found


class Bounds(NamedTuple):
    """A share and its interval."""

    estimate: float
    lower: float
    upper: float


def wilson(k: int, n: int) -> Bounds:
    """Return the share of k in n with Wilson's interval.

    For eyes on a dashboard: the gate judges by exact bounds (`models.intervals`), whose library
    takes 30 MB of memory that no gateway should spend on a picture.
    """
    share, z2 = k / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Bounds(share, middle - half, middle + half)
