"""What the gate has said of the checkpoints that are released now, as metrics."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import anyio.to_thread

from gateway.inventory import Inventory, Labels
from models.errors import RegistryError
from models.release import Release
from models.report import right_answers
from models.store import CheckpointStore

Z = NormalDist().inv_cdf(0.975)
"""On either side: together an interval of 95 %."""
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
                k, n = right_answers(items), subset.n
                found[alias, subset.name, of, "estimate"] = k / n
                lower, upper = interval(k, n)
                found[alias, subset.name, of, "lower"] = lower
                found[alias, subset.name, of, "upper"] = upper
        return found


def interval(k: int, n: int) -> tuple[float, float]:
    """Return Wilson's score interval of a share: k of n, at 95 %.

    For a picture; what the gate judges by are the exact bounds of `models.intervals`, whose
    library would take a third of a worker's memory.

    Source: Wilson, JASA 22 (1927).
    """
    share, z2 = k / n, Z * Z / n
    middle = share + z2 / 2
    half = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n))
    return (middle - half) / (1 + z2), (middle + half) / (1 + z2)
