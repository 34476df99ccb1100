"""One engine: what is known of it, how busy it is, and whether it may be given a request."""

import asyncio
from dataclasses import dataclass, field

from gateway.dataplane.breaker import Breaker
from gateway.dataplane.catalogue import EngineAddress
from gateway.policy.attestation import Pointer

NEVER = float("-inf")
SMALLEST_SHARE = 0.1


@dataclass(eq=False)
class Replica:
    """One engine."""

    address: EngineAddress
    breaker: Breaker
    verified: bool = False
    in_flight: int = 0
    was_ready: bool = False
    """Whether it has been in rotation before."""
    returned_at: float = NEVER
    """When it last came back into rotation after it had been out; on the monotonic clock."""
    heads: dict[str, bytes] = field(default_factory=dict, repr=False)
    """How requests to it begin, by path."""
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
    doubted: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set when a request gave reason to ask it again at once."""
    attested: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set when it has attested what it should."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list, repr=False)

    @property
    def labels(self) -> tuple[str, str]:
        """Those of its metrics: its address and its checkpoint."""
        return self.address.url, self.address.digest

    @property
    def is_itself(self) -> bool:
        """Whether it says what its release's fingerprint says, as far as there is one."""
        if self.pointer is None or not self.pointer.fingerprint:
            return True
        return not self.drifted and self.replayed == (self.engine_start, self.pointer.release)

    def load(self, now: float, slow_start_seconds: float) -> float:
        """Return how busy it is with one more request, relative to the share that it takes.

        An engine that has just returned has cold caches: its share grows to the full one.
        """
        age = now - self.returned_at
        if age >= slow_start_seconds:
            return self.in_flight + 1.0
        return (self.in_flight + 1.0) / max(SMALLEST_SHARE, age / slow_start_seconds)
