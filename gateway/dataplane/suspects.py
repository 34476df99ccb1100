"""Requests that were being answered when their engine died; they are held back for a while.

One request can end a whole engine (`seed` on vLLM's CPU build does). Sent to the next engine, by us
or by a client that tries again, it would end that one too. So a request whose engine broke down
under it is held back at once, and let go when that engine's next probe shows that it lives and was
not started again; otherwise it is held for its time, by every gateway on one PostgreSQL: whoever
tries again may well come to another. Only keyed hashes are kept, in memory, and told under a seal:
of who asked and what the engine got, and of the engine. A common question that was in flight by
chance is held back from the callers who had asked it, and from nobody else.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from gateway.errors import EngineUnavailableError, RequestHeldBackError

MAX_SUSPECTS = 10_000
DIGEST_BYTES = 16
SWEEP_SECONDS = 1.0
"""Between two looks at whose time is over, once no verdict can come any more."""
VERDICT_SECONDS = 3.0
"""How long a probe may take to show that an engine lives."""


class _Held(NamedTuple):
    """For one engine that broke down."""

    at: float
    until: float


class Suspects:
    """Who is held back."""

    def __init__(self, hold_seconds: float, key: bytes, tell: Callable[[str], None]) -> None:
        """Hold each one for `hold_seconds`.

        Args:
            hold_seconds: For how long.
            key: Of hashes and seals; that of every gateway.
            tell: Has other gateways hold back what is held here: they `hear` the text. Who has
                the key alone can make one; to say it again holds the same request anew.
        """
        self._hold_seconds = hold_seconds
        self._key = key
        self._tell = tell
        self._origin = secrets.token_bytes(DIGEST_BYTES)
        self._newest_at = self._swept_at = float("-inf")
        self._held: dict[bytes, dict[bytes, _Held]] = {}
        """By request and by engine: others may have been given it too."""

    def check(self, person_id: str, body: bytes) -> None:
        """Let a person's request pass, or not.

        Raises:
            EngineUnavailableError: Its engine failed just now; whether it died is not known.
            RequestHeldBackError: It died while it answered this request.
        """
        if not self._held:
            return
        fingerprint = self._fingerprint(person_id, body)
        engines = self._held.get(fingerprint)
        if engines is None:
            return
        now = time.monotonic()
        if any(now - held.at < VERDICT_SECONDS for held in engines.values()):
            raise EngineUnavailableError
        until = max(held.until for held in engines.values())
        if now < until:
            raise RequestHeldBackError(until - now)
        del self._held[fingerprint]

    def hold(self, person_id: str, body: bytes, url: str, engine_start: str) -> None:
        """Hold a person's request back; the engine at `url` broke down under it."""
        fingerprint, engine = self._fingerprint(person_id, body), self.engine(url, engine_start)
        self._put(fingerprint, engine)
        told = self._origin + fingerprint + engine
        self._tell((told + self._seal(told)).hex())

    def hear(self, text: str) -> bytes | None:
        """Hold back what another gateway does, from now on: it may have broken down once more.

        Returns:
            The engine, as `engine` has it; None where it is nothing that another gateway has told.
        """
        try:
            sealed = bytes.fromhex(text)
        except ValueError:
            return None
        told, seal = sealed[:-DIGEST_BYTES], sealed[-DIGEST_BYTES:]
        # Whoever may connect to the database may announce, and would drive out what is held.
        if len(told) != 3 * DIGEST_BYTES or not hmac.compare_digest(seal, self._seal(told)):
            return None
        origin, fingerprint, engine = (
            told[at : at + DIGEST_BYTES] for at in range(0, 3 * DIGEST_BYTES, DIGEST_BYTES)
        )
        if origin == self._origin:
            return None
        self._put(fingerprint, engine)
        return engine

    def _put(self, fingerprint: bytes, engine: bytes) -> None:
        if fingerprint not in self._held and len(self._held) >= MAX_SUSPECTS:
            del self._held[next(iter(self._held))]
        self._newest_at = now = time.monotonic()
        engines = self._held.pop(fingerprint, {})  # The one that was held last is dropped last.
        engines[engine] = _Held(now, now + self._hold_seconds)
        self._held[fingerprint] = engines

    def lives(self, url: str, engine_start: str, asked_at: float) -> None:
        """Let go of those whose engine lives: it answered what it was asked after them.

        And of everybody whose time is over: while anybody is held, each request is looked up.
        """
        if not self._held:
            return
        # Thousands may be held for minutes, while every engine is asked each second.
        is_settled = asked_at >= self._newest_at + VERDICT_SECONDS
        if is_settled and asked_at < self._swept_at + SWEEP_SECONDS:
            return
        self._swept_at = asked_at
        alive = self.engine(url, engine_start)
        for fingerprint, engines in list(self._held.items()):
            for engine, held in list(engines.items()):
                has_answered = held.at < asked_at < held.at + VERDICT_SECONDS
                if held.until <= asked_at or (engine == alive and has_answered):
                    del engines[engine]
            if not engines:
                del self._held[fingerprint]

    def engine(self, url: str, engine_start: str) -> bytes:
        """Return what stands for one start of an engine, among those who have the key."""
        return self._hash(f"{url} {engine_start}".encode(), b"")

    def __len__(self) -> int:
        """Return how many are held."""
        return len(self._held)

    def _fingerprint(self, person_id: str, body: bytes) -> bytes:
        # The body alone has a caller's salt where an engine caches: it counts tokens without.
        return self._hash(f"{person_id}/".encode(), body)

    def _seal(self, told: bytes) -> bytes:
        """Return what shows that a gateway has told it."""
        seal = hashlib.blake2b(told, key=self._key, digest_size=DIGEST_BYTES, person=b"seal")
        return seal.digest()

    def _hash(self, first: bytes, second: bytes) -> bytes:
        hashed = hashlib.blake2b(first, key=self._key, digest_size=DIGEST_BYTES)
        hashed.update(second)
        return hashed.digest()
