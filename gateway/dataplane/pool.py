"""The pool: engines that are known to serve the checkpoint that they should.

An engine enters rotation after it has named the expected digest itself, its launcher has attested
the released checkpoint and profile for a new nonce, and it has said what its fingerprint says. It
is asked again all the time and leaves at the first doubt. Replicas of one digest share its
requests; digests never mix.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.dataplane.catalogue import EngineAddress
from gateway.dataplane.probe import Probe
from gateway.errors import EngineUnavailableError
from gateway.metrics import Metrics
from gateway.policy.attestation import Pointer, Unattested, standing
from gateway.settings import Settings

NEVER = float("-inf")
DRIFT_RECHECK_SECONDS = 60.0
log = logging.getLogger(__name__)


@dataclass(eq=False)
class Replica:
    """One engine."""

    address: EngineAddress
    verified: bool = False
    in_flight: int = 0
    why_not: str = "it has not been asked yet"
    """Why it is out of rotation, for operators."""
    attested_at: float = NEVER
    """When it last attested what it should; on the monotonic clock."""
    engine_start: str = ""
    pointer: Pointer | None = None
    """The release that it attests."""
    replayed: tuple[str, str] | None = None
    """Engine start and release for which the fingerprint was replayed last."""
    replayed_at: float = NEVER
    drifted: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list, repr=False)

    @property
    def is_itself(self) -> bool:
        """Whether it says what its release's fingerprint says, as far as there is one."""
        if self.pointer is None or not self.pointer.fingerprint:
            return True
        return not self.drifted and self.replayed == (self.engine_start, self.pointer.release)


class Pool:
    """All engines, by the checkpoint that they must serve."""

    def __init__(self, probe: Probe, metrics: Metrics, settings: Settings) -> None:
        """Start empty; `update` says which engines and releases there are."""
        self._probe = probe
        self._metrics = metrics
        self._settings = settings
        self._replicas: dict[EngineAddress, Replica] = {}
        self._pointers: Mapping[str, tuple[Pointer, ...]] = {}

    def update(
        self, engines: tuple[EngineAddress, ...], pointers: Mapping[str, tuple[Pointer, ...]]
    ) -> None:
        """Take in new engines, unverified, drop those that are gone, and note what is released.

        Args:
            engines: Every engine.
            pointers: The releases that count, by checkpoint.
        """
        self._pointers = pointers
        for address in set(self._replicas) - set(engines):
            self._drop(address)
        for address in engines:
            if address not in self._replicas:
                replica = Replica(address)
                self._replicas[address] = replica
                replica.tasks = [
                    asyncio.create_task(self._keep_probing(replica)),
                    asyncio.create_task(self._keep_replaying(replica)),
                ]

    def serves(self, digest: str) -> bool:
        """Whether a verified engine serves a checkpoint."""
        return any(self._is_ready(replica, digest) for replica in self._replicas.values())

    def why_not(self, digest: str) -> str:
        """Return why no engine serves a checkpoint."""
        reasons = {
            f"{replica.address.url}: {replica.why_not}"
            for replica in self._replicas.values()
            if replica.address.digest == digest
        }
        return "; ".join(sorted(reasons)) or "none is configured for its checkpoint"

    @contextmanager
    def lease(self, digest: str) -> Iterator[Replica]:
        """Yield the least busy verified engine of a checkpoint, counted as busy meanwhile.

        Raises:
            EngineUnavailableError: There is none; an engine of another checkpoint never steps in.
        """
        ready = [r for r in self._replicas.values() if self._is_ready(r, digest)]
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
        self._set(replica, "a request to it failed")

    async def close(self) -> None:
        """Stop asking."""
        for address in list(self._replicas):
            self._drop(address)

    def _is_ready(self, replica: Replica, digest: str) -> bool:
        return replica.verified and replica.address.digest == digest and self._is_attested(replica)

    def _is_attested(self, replica: Replica) -> bool:
        """Whether its last good attestation is young enough; a prober that hangs makes it old."""
        if not self._must_attest(replica.address):
            return True
        age = time.monotonic() - replica.attested_at
        return age <= self._settings.attestation_max_age_seconds

    def _must_attest(self, address: EngineAddress) -> bool:
        return self._settings.require_attestation or address.attest_url is not None

    def _drop(self, address: EngineAddress) -> None:
        replica = self._replicas.pop(address)
        replica.verified = False
        for task in replica.tasks:
            task.cancel()
        self._metrics.engine_up.remove(address.url, address.digest)

    async def _keep_probing(self, replica: Replica) -> None:
        while True:
            self._set(replica, await self._doubt(replica))
            await asyncio.sleep(self._settings.probe_seconds)

    async def _doubt(self, replica: Replica) -> str:
        """Return why an engine may not serve now; empty when it may."""
        if not await self._probe.serves_its_digest(replica.address):
            return "it does not answer, or names another digest"
        if self._must_attest(replica.address):
            problem = await self._ask_side_car(replica)
            if not self._is_attested(replica):
                return problem or "its last attestation is too old"
        if replica.drifted:
            return "it no longer says what its fingerprint says"
        return "" if replica.is_itself else "its fingerprint has not been replayed yet"

    async def _ask_side_car(self, replica: Replica) -> str:
        """Note what an engine attests now; return what is wrong with it."""
        if replica.address.attest_url is None:
            return "it has no side-car"
        attested = await self._probe.attested(replica.address)
        if attested is None:
            # Silence alone is borne until the last attestation is too old.
            return "its side-car does not answer"
        if isinstance(attested, Unattested):
            replica.attested_at = NEVER
            return attested.reason
        pointers = self._pointers.get(replica.address.digest, ())
        if not pointers:
            replica.attested_at = NEVER
            return "no release that counts points to its checkpoint"
        match standing(attested, pointers):
            case "other weights":
                replica.attested_at = NEVER
                return "it attests another checkpoint or profile than is released"
            case "other version":
                return "it attests another version of the release"
            case "matches":
                replica.attested_at = time.monotonic()
                replica.engine_start = attested.engine_start
                replica.pointer = next(p for p in pointers if p.release == attested.release)
        return ""

    async def _keep_replaying(self, replica: Replica) -> None:
        """Replay the fingerprint after each start of the engine and from time to time."""
        while True:
            await asyncio.sleep(self._settings.probe_seconds)
            age = time.monotonic() - replica.replayed_at
            wait = DRIFT_RECHECK_SECONDS if replica.drifted else self._settings.fingerprint_seconds
            if replica.pointer is None or not replica.pointer.fingerprint:
                continue
            current = (replica.engine_start, replica.pointer.release)
            if replica.replayed != current or age >= wait:
                await self._replay(replica, replica.pointer, current)

    async def _replay(self, replica: Replica, pointer: Pointer, current: tuple[str, str]) -> None:
        same = await self._probe.says(replica.address, pointer.fingerprint)
        if same is False:
            # Rounding may differ in a crowded batch: once more, in another one.
            await asyncio.sleep(self._settings.probe_seconds)
            same = await self._probe.says(replica.address, pointer.fingerprint)
        if same is None:
            return  # It did not answer: the probes see to that.
        replica.replayed, replica.replayed_at = current, time.monotonic()
        if not same and not replica.drifted:
            self._metrics.engine_drift.labels(replica.address.url, replica.address.digest).inc()
            log.error("%s no longer says what its fingerprint says", replica.address.url)
        replica.drifted = not same
        if not same:
            self._set(replica, "it no longer says what its fingerprint says")

    def _set(self, replica: Replica, why_not: str) -> None:
        # A dropped replica must stay out even when its last probe comes back late.
        known = self._replicas.get(replica.address) is replica
        if why_not and why_not != replica.why_not and replica.verified:
            log.warning("%s is out of rotation: %s", replica.address.url, why_not)
        replica.verified, replica.why_not = known and not why_not, why_not
        if known:
            self._metrics.engine_up.labels(replica.address.url, replica.address.digest).set(
                replica.verified
            )
