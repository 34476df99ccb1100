"""Requests that were being answered when their engine died; they are held back for a while.

One request can end a whole engine (`seed` on vLLM's CPU build does). Sent to the next engine, by us
or by a client that tries again, it would end that one too. So a request whose engine broke down
under it is held back at once, and let go when that engine's next probe shows that it lives and was
not started again; otherwise it is held for its time. Only a keyed hash is kept, in memory: of
who asked and of what the engine got. A common question that was in flight by chance is held back
from the callers who had asked it, and from nobody else.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass

from gateway.errors import EngineUnavailableError, RequestHeldBackError

MAX_SUSPECTS = 10_000
VERDICT_SECONDS = 3.0
"""How long a probe may take to show that an engine lives."""


@dataclass(frozen=True)
class _Suspect:
    url: str
    engine_start: str
    held_at: float
    held_until: float


class Suspects:
    """Who is held back."""

    def __init__(self, hold_seconds: float) -> None:
        """Hold each one for `hold_seconds`."""
        self._hold_seconds = hold_seconds
        self._key = secrets.token_bytes(32)
        self._held: dict[bytes, _Suspect] = {}

    def check(self, person_id: str, body: bytes) -> None:
        """Let a person's request pass, or not.

        Raises:
            EngineUnavailableError: Its engine failed just now; whether it died is not known.
            RequestHeldBackError: It died while it answered this request.
        """
        if not self._held:
            return
        fingerprint = self._fingerprint(person_id, body)
        suspect = self._held.get(fingerprint)
        if suspect is None:
            return
        now = time.monotonic()
        if now - suspect.held_at < VERDICT_SECONDS:
            raise EngineUnavailableError
        if now < suspect.held_until:
            raise RequestHeldBackError(suspect.held_until - now)
        del self._held[fingerprint]

    def hold(self, person_id: str, body: bytes, url: str, engine_start: str) -> None:
        """Hold a person's request back; the engine at `url` broke down under it."""
        if len(self._held) >= MAX_SUSPECTS:
            del self._held[next(iter(self._held))]
        now = time.monotonic()
        until = now + self._hold_seconds
        suspect = _Suspect(url, engine_start, now, until)
        self._held[self._fingerprint(person_id, body)] = suspect

    def lives(self, url: str, engine_start: str, asked_at: float) -> None:
        """Let go of those whose engine lives: it answered what it was asked after them.

        And of everybody whose time is over: while anybody is held, each request is looked up.
        """
        for fingerprint, suspect in list(self._held.items()):
            is_its = suspect.url == url and suspect.engine_start == engine_start
            has_answered = suspect.held_at < asked_at < suspect.held_at + VERDICT_SECONDS
            if suspect.held_until <= asked_at or (is_its and has_answered):
                del self._held[fingerprint]

    def __len__(self) -> int:
        """Return how many are held."""
        return len(self._held)

    def _fingerprint(self, person_id: str, body: bytes) -> bytes:
        # The body alone has a caller's salt where an engine caches: it counts tokens without.
        hashed = hashlib.blake2b(f"{person_id}/".encode(), key=self._key, digest_size=16)
        hashed.update(body)
        return hashed.digest()
