"""Starts the ledger, by which workers count limits together, where there is a Redis for it."""

from gateway.dataplane.limits import Limits
from gateway.metrics import Metrics
from gateway.settings import Settings


async def share_limits(limits: Limits, key: bytes, settings: Settings, metrics: Metrics) -> None:
    """Count together with other workers, for ever; return at once without a Redis.

    Args:
        limits: What this worker counts.
        key: Names of people and organisations are hashed with it.
        settings: Where Redis is.
        metrics: Counts.
    """
    if settings.redis_url is None:
        return
    # Ten megabytes for each worker, which only those pay for who have a Redis.
    from redis.asyncio import Redis

    from gateway.dataplane.ledger import Ledger

    password = settings.redis_password_file
    client = Redis.from_url(
        settings.redis_url, password=password.read_text().strip() if password else None
    )
    try:
        await Ledger(client, limits, key, settings, metrics).keep()
    finally:
        await client.aclose()
