"""The pool: engines that are known to serve the checkpoint that they should.

An engine enters rotation after it has named the expected digest itself, its launcher has attested
the released checkpoint and profile for a new nonce, and it has said what its fingerprint says. It
is asked again all the time and leaves at the first doubt. Replicas of one digest share its
requests; digests never mix.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Literal, get_args

from gateway.dataplane import balance
from gateway.dataplane.breaker import Breaker
from gateway.dataplane.catalogue import EngineAddress
from gateway.dataplane.probe import Probe
from gateway.dataplane.replica import NEVER, Replica
from gateway.dataplane.suspects import Suspects
from gateway.errors import EngineUnavailableError
from gateway.metrics import Metrics
from gateway.policy.attestation import Pointer, Unattested, standing
from gateway.settings import Settings

DRIFT_RECHECK_SECONDS = 60.0
PROBE_GAP_SECONDS = 0.02
Fault = Literal["unavailable", "failed", "timeout"]
log = logging.getLogger(__name__)


class Pool:
    """All engines, by the checkpoint that they must serve."""

    def __init__(
        self, probe: Probe, suspects: Suspects, metrics: Metrics, settings: Settings
    ) -> None:
        """Start empty; `update` says which engines and releases there are."""
        self._suspects = suspects
        self._probe = probe
        self._metrics = metrics
        self._settings = settings
        self._breaker = partial(Breaker, settings.breaker_failures, settings.breaker_open_seconds)
        self._replicas: dict[EngineAddress, Replica] = {}
        self._by_digest: dict[str, list[Replica]] = {}
        self._pointers: Mapping[str, tuple[Pointer, ...]] = {}

    def update(
        self, engines: tuple[EngineAddress, ...], pointers: Mapping[str, tuple[Pointer, ...]]
    ) -> None:
        """Take in new engines, unverified, drop those that are gone, and note what is released.

        Args:
            engines: Every engine.
            pointers: The releases that count, by checkpoint.
        """
        before, self._pointers = self._pointers, pointers
        for address in set(self._replicas) - set(engines):
            self._drop(address)
        for address in engines:
            if address not in self._replicas:
                replica = Replica(address, self._breaker())
                self._replicas[address] = replica
                self._begin_counting(address)
                replica.tasks = [
                    asyncio.create_task(self._keep_probing(replica)),
                    asyncio.create_task(self._keep_replaying(replica)),
                ]
        self._by_digest = {}
        for replica in self._replicas.values():
            if pointers.get(replica.address.digest) != before.get(replica.address.digest):
                replica.doubted.set()  # What it is to attest is another.
            self._by_digest.setdefault(replica.address.digest, []).append(replica)

    def replicas(self) -> list[Replica]:
        """Return every engine."""
        return list(self._replicas.values())

    def serves(self, digest: str) -> int:
        """Return how many verified engines serve a checkpoint."""
        now = time.monotonic()
        return sum(
            replica.verified and self._is_attested(replica, now)
            for replica in self._by_digest.get(digest, ())
        )

    def why_not(self, digest: str) -> str:
        """Return why no engine serves a checkpoint."""
        known = self._by_digest.get(digest, ())
        reasons = {f"{replica.address.url}: {replica.why_not}" for replica in known}
        return "; ".join(sorted(reasons)) or "none is configured for its checkpoint"

    def acquire(
        self, digest: str, tried: Collection[Replica], person_id: str, body: bytes
    ) -> Replica:
        """Return a verified engine of a checkpoint, counted as busy until it is released.

        Args:
            digest: The checkpoint's.
            tried: Engines that have turned the request away; one of them only as a last resort.
            person_id: Who asks.
            body: What it will get.

        Raises:
            EngineUnavailableError: There is none; an engine of another checkpoint never steps in.
        """
        now = time.monotonic()
        ready = self._ready(digest, now)
        if tried:
            ready = [replica for replica in ready if replica not in tried] or ready
        if not ready:
            raise EngineUnavailableError
        slow_start = self._settings.slow_start_seconds
        if self._settings.balance == "prefix-affine":
            replica = balance.prefix_affine(ready, person_id, body, now, slow_start)
        else:
            replica = balance.least_loaded(ready, now, slow_start)
        replica.in_flight += 1
        replica.breaker.begin()
        return replica

    def release(self, replica: Replica) -> None:
        """Count an engine's request as ended; what ended without a verdict may be tried again."""
        replica.in_flight -= 1
        replica.breaker.abandon()

    def has_other(self, digest: str, tried: Collection[Replica]) -> bool:
        """Whether an engine is ready that has not been tried."""
        return any(replica not in tried for replica in self._ready(digest, time.monotonic()))

    def succeeded(self, replica: Replica) -> None:
        """Note a good answer."""
        if replica.breaker.is_tested:
            if replica.breaker.succeed():
                replica.returned_at = time.monotonic()
            self._show_breaker(replica)

    def failed(self, replica: Replica, person_id: str | None, how: Fault) -> None:
        """Note what it failed to do, and ask it; without a person its breaker learns nothing."""
        self._metrics.engine_errors.labels(*replica.labels, how).inc()
        if person_id is not None:
            replica.breaker.fail(time.monotonic(), person_id)
        self._show_breaker(replica)
        replica.doubted.set()

    def hear_of_suspect(self, text: str) -> None:
        """Hold back what another gateway does, and ask its engine at once whether it lives."""
        heard = self._suspects.hear(text)
        for replica in self._replicas.values() if heard else ():
            if heard == self._suspects.engine(replica.address.url, replica.engine_start):
                replica.doubted.set()

    def distrust(self, replica: Replica) -> None:
        """Take an engine out of rotation until a probe has verified it again."""
        self._set(replica, "a request to it failed")
        replica.doubted.set()

    async def close(self) -> None:
        """Stop asking."""
        for address in list(self._replicas):
            self._drop(address)

    def _ready(self, digest: str, now: float) -> list[Replica]:
        return [
            replica
            for replica in self._by_digest.get(digest, ())
            if replica.verified and replica.breaker.allows(now) and self._is_attested(replica, now)
        ]

    def _begin_counting(self, address: EngineAddress) -> None:
        """Begin counters at 0: a first fault that makes its own series is invisible to rates."""
        for how in get_args(Fault):
            self._metrics.engine_errors.labels(address.url, address.digest, how)
        self._metrics.engine_drift.labels(address.url, address.digest)

    def _show_breaker(self, replica: Replica) -> None:
        if self._replicas.get(replica.address) is replica:
            is_open = replica.breaker.state != "closed"
            self._metrics.breaker_open.labels(*replica.labels).set(is_open)

    def _is_attested(self, replica: Replica, now: float) -> bool:
        """Whether its last good attestation is young enough; a prober that hangs makes it old."""
        is_young = now - replica.attested_at <= self._settings.attestation_max_age_seconds
        return is_young or not self._must_attest(replica.address)

    def _must_attest(self, address: EngineAddress) -> bool:
        return self._settings.require_attestation or address.attest_url is not None

    def _drop(self, address: EngineAddress) -> None:
        replica = self._replicas.pop(address)
        replica.verified = False
        for task in replica.tasks:
            task.cancel()
        self._metrics.engine_up.remove(address.url, address.digest)
        self._metrics.breaker_open.remove(address.url, address.digest)

    async def _keep_probing(self, replica: Replica) -> None:
        self._show_breaker(replica)
        while True:
            asked_at = time.monotonic()
            replica.doubted.clear()
            try:
                why_not = await self._doubt(replica)
            except Exception as error:  # noqa: BLE001 - its last good word would count for ever
                why_not = f"it could not be asked: {type(error).__name__}"
            self._set(replica, why_not)
            if not why_not:
                self._suspects.lives(replica.address.url, replica.engine_start, asked_at)
            await asyncio.sleep(PROBE_GAP_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.probe_seconds):
                    await replica.doubted.wait()

    async def _doubt(self, replica: Replica) -> str:
        """Return why an engine may not serve now; empty when it may."""
        if not await self._probe.serves_its_digest(replica.address):
            return "it does not answer, or names another digest"
        if self._must_attest(replica.address):
            problem = await self._ask_side_car(replica)
            if not self._is_attested(replica, time.monotonic()):
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
                replica.attested.set()
        return ""

    async def _keep_replaying(self, replica: Replica) -> None:
        """Replay the fingerprint after each start of the engine and from time to time."""
        while True:
            # At once after it was attested: a gateway that starts would wait for two probes more.
            replica.attested.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.probe_seconds):
                    await replica.attested.wait()
            wait = DRIFT_RECHECK_SECONDS if replica.drifted else self._settings.fingerprint_seconds
            if replica.pointer is None or not replica.pointer.fingerprint:
                continue
            current = (replica.engine_start, replica.pointer.release)
            if replica.replayed != current or time.monotonic() - replica.replayed_at >= wait:
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
        replica.doubted.set()
        if not same and not replica.drifted:
            self._metrics.engine_drift.labels(*replica.labels).inc()
            log.error("%s no longer says what its fingerprint says", replica.address.url)
        replica.drifted = not same
        if not same:
            self._set(replica, "it no longer says what its fingerprint says")

    def _set(self, replica: Replica, why_not: str) -> None:
        # A dropped replica must stay out even when its last probe comes back late.
        known = self._replicas.get(replica.address) is replica
        if why_not and why_not != replica.why_not and replica.verified:
            log.warning("%s is out of rotation: %s", replica.address.url, why_not)
        if not why_not and not replica.verified and replica.was_ready:
            replica.returned_at = time.monotonic()
            log.warning("%s is back in rotation", replica.address.url)
        replica.verified, replica.why_not = known and not why_not, why_not
        replica.was_ready = replica.was_ready or replica.verified
        if known:
            self._metrics.engine_up.labels(*replica.labels).set(replica.verified)
