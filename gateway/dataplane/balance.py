"""Which replica of a checkpoint is given a request; every one that is offered may have it."""

import hashlib
import random
from collections.abc import Sequence

from gateway.dataplane.replica import Replica

PREFIX_BYTES = 1024
OVERLOAD = 1.25
"""A replica that is so much busier than the average gives its prefixes to the next."""


def least_loaded(ready: Sequence[Replica], now: float, slow_start_seconds: float) -> Replica:
    """Return the least busy replica; of equals, any."""
    if len(ready) == 1:
        return ready[0]
    loads = [replica.load(now, slow_start_seconds) for replica in ready]
    least = min(loads)
    equals = [replica for replica, load in zip(ready, loads, strict=True) if load == least]
    return random.choice(equals)  # noqa: S311


def prefix_affine(
    ready: Sequence[Replica], person_id: str, body: bytes, now: float, slow_start_seconds: float
) -> Replica:
    """Return the replica that has the prompt's beginning in its cache, unless it is too busy.

    By rendezvous hashing, so that a replica that comes or goes moves only its own prefixes. Of
    each person apart, since caches are; the body is the one that the engine gets, which begins with
    what was said.
    """
    prefix = person_id.encode() + body[:PREFIX_BYTES]
    ranked = sorted(
        ready,
        key=lambda replica: hashlib.blake2b(
            prefix, key=replica.address.url.encode()[:64], digest_size=8
        ).digest(),
    )
    loads = {replica: replica.load(now, slow_start_seconds) for replica in ranked}
    limit = OVERLOAD * sum(loads.values()) / len(loads) + 1
    return next((replica for replica in ranked if loads[replica] <= limit), ranked[0])
