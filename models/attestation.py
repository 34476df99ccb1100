"""Attestations: what a launcher says that its engine serves, signed with the engine's key.

It answers one question (the nonce), so that an answer cannot be kept and given again. Without a
trusted execution environment it proves no more than that the launcher on that host says so: see
`docs/release.md`.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from models.documents import Digest, Document, Instant
from models.errors import SignatureError
from models.signing import unseal
from models.trust import TrustStore

NONCE_PATTERN = r"^[0-9a-f]{32,128}$"


class Attestation(Document):
    """What one engine serves at one moment."""

    schema_version: Literal[1] = 1
    alias: str
    checkpoint: Digest
    profile: Digest
    release_version: int = Field(ge=1)
    release: Digest
    """Of the release that the launcher has verified last."""
    engine_started_at: Instant
    pid: int
    """Of the engine, on its own host."""
    pid_start_ticks: int
    """When the kernel started that process, since boot: a process id can come back."""
    nonce: Annotated[str, StringConstraints(pattern=NONCE_PATTERN)]

    @property
    def engine_start(self) -> str:
        """What changes whenever the engine's process is another one."""
        return f"{self.engine_started_at.isoformat()}/{self.pid}/{self.pid_start_ticks}"


def verify_attestation(raw: bytes, trust: TrustStore, nonce: str, now: datetime) -> Attestation:
    """Return the attestation that answers a nonce.

    Raises:
        SignatureError: It is not signed by a trusted engine key, or answers another nonce.
    """
    attestation = unseal(raw, Attestation, trust, "engine", threshold=1, now=now)
    if attestation.nonce != nonce:
        raise SignatureError("the attestation answers another nonce")
    return attestation


def process_start_ticks(pid: int) -> int:
    """Return when the kernel started a process, in clock ticks since boot.

    Raises:
        OSError: There is no such process.
    """
    # Field 22 of proc_pid_stat(5); the name before it may hold spaces and parentheses.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
