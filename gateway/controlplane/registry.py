"""The registry as the gateway follows it: verified releases, revocations, attestations.

The only part of the gateway that reads the checkpoint store and the trust store. What cannot be
read or verified counts as absent, which closes doors and opens none.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from gateway.controlplane.serving import seen_releases, take_over
from gateway.db import Database
from gateway.policy.attestation import Attested, Unattested
from models.attestation import verify_attestation
from models.documents import read_document
from models.errors import DocumentError, SignatureError
from models.release import CurrentReleases, Release, Seen, current_releases
from models.revocation import verified_revocations
from models.store import CheckpointStore
from models.trust import TrustStore, trust_path

NOBODY = TrustStore(keys=())


class Found(NamedTuple):
    """What one look at the registry found."""

    trust: TrustStore
    current: CurrentReleases
    revoked: dict[str, str]
    problems: list[str]


class Registry:
    """Follows the registry's files and verifies attestations by the same trust store."""

    def __init__(self, home: Path, trust_file: Path | None, database: Database) -> None:
        """Trust nobody until the first `follow`."""
        self._store = CheckpointStore(home / "store")
        self._trust_file = trust_file or trust_path(home)
        self._database = database
        self.trust = NOBODY
        self.releases: tuple[Release, ...] = ()
        """Those that count, at the last look."""
        self.problems: list[str] = []
        """What was wrong at the last look, for operators."""

    async def follow(self) -> None:
        """Take over what is released and revoked now.

        Raises:
            NotReadyError: The database is down.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as session:
            seen = await seen_releases(session)
        found = await anyio.to_thread.run_sync(self._look, now, seen)
        self.trust, self.problems = found.trust, found.problems
        self.releases = found.current.valid
        async with self._database.transaction() as session:
            await take_over(session, found.current, found.revoked, actor="registry", now=now)

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
            attestation = verify_attestation(raw, self.trust, nonce, datetime.now(UTC))
        except SignatureError as error:
            return Unattested(str(error))
        return Attested(
            checkpoint=attestation.checkpoint,
            profile=attestation.profile,
            release=attestation.release,
            engine_start=attestation.engine_start,
        )
