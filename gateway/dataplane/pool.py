"""The pool: engines that are known to serve the checkpoint that they should.

An engine enters rotation after it has named the expected digest itself, is asked again all the
time, and leaves at the first doubt. Replicas of one digest share its requests; digests never mix.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec

from gateway.dataplane.catalogue import EngineAddress
from gateway.errors import EngineUnavailableError
from gateway.metrics import Metrics

PROBE_TIMEOUT_SECONDS = 5.0


class _Served(msgspec.Struct):
    id: str


class _ServedList(msgspec.Struct):
    data: list[_Served]


@dataclass(eq=False)
class Replica:
    """One engine."""

    address: EngineAddress
    verified: bool = False
    in_flight: int = 0
    prober: asyncio.Task[None] | None = field(default=None, repr=False)


class Pool:
    """All engines, by the checkpoint that they must serve."""

    def __init__(self, client: aiohttp.ClientSession, metrics: Metrics, probe_seconds: float):
        """Start empty; `update` says which engines there are."""
        self._client = client
        self._metrics = metrics
        self._probe_seconds = probe_seconds
        self._replicas: dict[EngineAddress, Replica] = {}

    def update(self, engines: tuple[EngineAddress, ...]) -> None:
        """Take in new engines, unverified, and drop those that are gone."""
        for address in set(self._replicas) - set(engines):
            self._drop(address)
        for address in engines:
            if address not in self._replicas:
                replica = Replica(address)
                replica.prober = asyncio.create_task(self._keep_probing(replica))
                self._replicas[address] = replica

    def serves(self, digest: str) -> bool:
        """Whether a verified engine serves a checkpoint."""
        return any(r.verified and r.address.digest == digest for r in self._replicas.values())

    @contextmanager
    def lease(self, digest: str) -> Iterator[Replica]:
        """Yield the least busy verified engine of a checkpoint, counted as busy meanwhile.

        Raises:
            EngineUnavailableError: There is none; an engine of another checkpoint never steps in.
        """
        ready = [
            replica
            for replica in self._replicas.values()
            if replica.verified and replica.address.digest == digest
        ]
        if not ready:
            raise EngineUnavailableError
        replica = min(ready, key=lambda candidate: candidate.in_flight)
        replica.in_flight += 1
        try:
            yield replica
        finally:
            replica.in_flight -= 1

    def distrust(self, replica: Replica) -> None:
        """Take an engine out of rotation until a probe has verified it again."""
        self._set(replica, verified=False)

    async def close(self) -> None:
        """Stop asking."""
        for address in list(self._replicas):
            self._drop(address)

    def _drop(self, address: EngineAddress) -> None:
        replica = self._replicas.pop(address)
        replica.verified = False
        if replica.prober is not None:
            replica.prober.cancel()
        self._metrics.engine_up.remove(address.url, address.digest)

    async def _keep_probing(self, replica: Replica) -> None:
        while True:
            self._set(replica, verified=await self._serves_its_digest(replica.address))
            await asyncio.sleep(self._probe_seconds)

    async def _serves_its_digest(self, address: EngineAddress) -> bool:
        """Ask an engine what it serves; any doubt is a no."""
        try:
            async with self._client.get(
                f"{address.url}/v1/models",
                headers={"authorization": f"Bearer {address.api_key}"},
                timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_SECONDS),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    return False
                served = msgspec.json.decode(await response.read(), type=_ServedList)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
            return False
        digests = {entry.id for entry in served.data if entry.id.startswith("sha256:")}
        return digests == {address.digest}

    def _set(self, replica: Replica, *, verified: bool) -> None:
        # A dropped replica must stay out even when its last probe comes back late.
        known = self._replicas.get(replica.address) is replica
        replica.verified = verified and known
        if known:
            self._metrics.engine_up.labels(replica.address.url, replica.address.digest).set(
                replica.verified
            )
