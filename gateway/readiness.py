"""Why requests cannot be served as they should: what `/readyz` says."""

from datetime import UTC, datetime

from gateway.controlplane.registry import Registry
from gateway.dataplane.pool import Pool
from gateway.dataplane.snapshot import SnapshotKeeper
from gateway.errors import NotReadyError
from gateway.settings import Settings


def why_not_ready(
    settings: Settings,
    keeper: SnapshotKeeper,
    pool: Pool,
    registry: Registry,
) -> list[str]:
    """Return the reasons; none when the gateway is ready.

    Args:
        settings: Limits.
        keeper: Who may use what.
        pool: The engines.
        registry: What is released.
    """
    try:
        catalogue = keeper.current().catalogue
    except NotReadyError as error:
        return [str(error)]
    reasons = []
    if keeper.age_seconds > settings.privileged_max_age_seconds:
        reasons.append("the snapshot is too old to serve base checkpoints")
    if not catalogue.families:
        reasons.append("nothing has been promoted")
    if registry.error:
        reasons.append(f"releases: {registry.error}")
    reasons += registry.problems
    now = datetime.now(UTC)
    for family in catalogue.families.values():
        for alias in family.aliases:
            name = f"{family.name}:{alias.label}"
            withdrawn = catalogue.why_withdrawn(name, now)
            if withdrawn is not None:
                reasons.append(f"{name} has no valid release: {withdrawn}")
            elif not pool.serves(alias.checkpoint):
                why = pool.why_not(alias.checkpoint)
                reasons.append(f"no verified engine for {name}: {why}")
    return reasons
