"""The registry as the gateway follows it: verified releases, revocations, attestations.

The only part of the gateway that reads the checkpoint store and the trust store. What cannot be
read or verified counts as absent, which closes doors and opens none.

Every look verifies everything anew. None is made while nothing can have changed: neither a file nor
what the database says, and no key or release has begun or ended to count; but from time to time.
"""

import asyncio
import logging
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from gateway import clock
from gateway.controlplane.serving import seen_releases, take_over
from gateway.db import Database
from gateway.identity.changed import VERSION, Version
from gateway.policy.attestation import Attested, Unattested
from gateway.trouble import Trouble
from models.attestation import verify_attestation
from models.documents import read_document
from models.errors import DocumentError, SignatureError
from models.marks import Mark, marks_of
from models.release import CurrentReleases, Release, Seen, current_releases
from models.revocation import verified_revocations
from models.store import CheckpointStore
from models.trust import TrustStore, trust_path

log = logging.getLogger(__name__)
NOBODY = TrustStore(keys=())
LOOK_SECONDS = 10.0
"""After so many a look is made, whatever the marks say: a release may have been of the future."""


class Found(NamedTuple):
    """What one look at the registry found."""

    trust: TrustStore
    current: CurrentReleases
    revoked: dict[str, str]
    problems: list[str]

    def until(self, now: datetime) -> datetime | None:
        """Return when a key or release that is known begins or ends to count; None for never."""
        moments = [release.expires_at for release in self.current.valid]
        for key in self.trust.keys:
            moments += (key.not_before, key.expires_at)
        return min((moment for moment in moments if moment > now), default=None)


class Look(NamedTuple):
    """When a look was made, and of what."""

    version: Version | None
    marks: frozenset[Mark] | None
    at: float
    """On the clock that nobody sets."""
    until: datetime | None
    """When it would find something else, if nothing changes."""

    def stands(self, version: Version | None, marks: frozenset[Mark] | None, now: datetime) -> bool:
        """Whether another would find the same."""
        is_known = version is not None and marks is not None
        is_same = is_known and (version, marks) == (self.version, self.marks)
        is_young = time.monotonic() < self.at + LOOK_SECONDS
        return is_same and is_young and (self.until is None or now < self.until)


class Registry:
    """Follows the registry's files and verifies attestations by the same trust store."""

    def __init__(self, home: Path, trust_file: Path | None, database: Database) -> None:
        """Trust nobody until the first `follow`."""
        self._store = CheckpointStore(home / "store")
        self._trust_file = trust_file or trust_path(home)
        self._database = database
        self._version = database.poll(VERSION)
        self.trust = NOBODY
        self.releases: tuple[Release, ...] = ()
        """Those that count, at the last look."""
        self.problems: list[str] = []
        """What was wrong at the last look, for operators."""
        self.error: str | None = None
        """Why releases could not be taken over at the last look."""
        self._last: Look | None = None

    async def keep(self, seconds: float) -> None:
        """Follow for ever, with a look every so many seconds."""
        trouble = Trouble(log, "releases could not be taken over")
        while True:
            try:
                await self.follow()
                self.error = None
                trouble.worked()
            except Exception as error:  # noqa: BLE001 - its kind is logged.
                # Whatever it was: this task keeps doors shut that should be, and must go on.
                self.error = str(error)
                trouble.failed()
            await asyncio.sleep(seconds)

    async def follow(self) -> None:
        """Take over what is released and revoked now.

        Raises:
            NotReadyError: The database is down.
        """
        now, at = clock.now(), time.monotonic()
        marks = await anyio.to_thread.run_sync(marks_of, self._store, self._trust_file)
        # Before what it is the version of: a change that lands in between raises it again.
        row = await self._version.ask()
        version = None if row is None else Version(*row)
        if self._last is not None and self._last.stands(version, marks, now):
            return
        async with self._database.transaction() as session:
            seen = await seen_releases(session)
        self._last = None
        found = await anyio.to_thread.run_sync(self._look, now, seen)
        self.trust, self.problems = found.trust, found.problems
        self.releases = found.current.valid
        async with self._database.transaction() as session:
            await take_over(session, found.current, found.revoked, actor="registry", now=now)
        self._last = Look(version, marks, at, found.until(now))

    def _look(self, now: datetime, seen: dict[str, Seen]) -> Found:
        problems = []
        try:
            trust = read_document(self._trust_file, TrustStore)
        except DocumentError as error:
            trust = NOBODY
            problems.append(f"trust store: {error}")
        current = current_releases(self._store, trust, now, seen)
        # Of an alias that was served before, its own row says that it is withdrawn.
        problems += [
            f"{refusal.alias}: {refusal.reason}"
            for refusal in current.refused
            if refusal.alias not in seen
        ]
        revoked = {
            checkpoint: revocation.reason
            for checkpoint, revocation in verified_revocations(self._store, trust).items()
        }
        return Found(trust, current, revoked, problems)

    def verify(self, raw: bytes, nonce: str) -> Attested | Unattested:
        """Return what an engine's launcher has signed for a nonce, or why that does not count."""
        try:
            attestation = verify_attestation(raw, self.trust, nonce, clock.now())
        except SignatureError as error:
            return Unattested(str(error))
        return Attested(
            checkpoint=attestation.checkpoint,
            profile=attestation.profile,
            release=attestation.release,
            engine_start=attestation.engine_start,
        )
