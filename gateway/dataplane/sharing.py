"""Starts the ledger, by which workers count limits together, where there is a Redis for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.dataplane.limits import Limits
from gateway.errors import ConfigurationError
from gateway.metrics import Metrics
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.dataplane.ledger import Ledger


@asynccontextmanager
async def shared_limits(
    limits: Limits, key: bytes, settings: Settings, metrics: Metrics
) -> AsyncIterator["Ledger | None"]:
    """Yield what counts together with other workers; None without a Redis.

    Args:
        limits: What this worker counts.
        key: Names of people and organisations are hashed with it.
        settings: Where Redis is.
        metrics: Counts.

    Raises:
        ConfigurationError: That is no address.
    """
    if settings.redis_url is None:
        yield None
        return
    # Ten megabytes for each worker, which only those pay for who have a Redis.
    from redis.asyncio import Redis

    from gateway.dataplane.ledger import Ledger

    password = settings.redis_password_file
    try:
        client = Redis.from_url(
            settings.redis_url, password=password.read_text().strip() if password else None
        )
    except ValueError as error:
        # Its text may hold the password.
        raise ConfigurationError("AIRLOCK_REDIS_URL is no address of a Redis") from error
    try:
        yield Ledger(client, limits, key, settings, metrics)
    finally:
        await client.aclose()
