"""The launcher: what may be started, on which bytes, and what is said of it afterwards.

It follows an alias's newest valid release, remembers the newest version that it has accepted, and
starts nothing that the release does not name: checkpoint, profile, version.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.attestation import Attestation
from models.documents import canonical_json, read_document, write_bytes
from models.engine import EngineSpec, engine_name
from models.errors import EngineError
from models.locks import locked
from models.pinned import PinnedCheckpoint
from models.profile import merged, serving_words
from models.release import Release, Seen, current_release, has_release
from models.signing import seal
from models.store import CheckpointStore
from models.supervisor import Running
from models.trust import read_trust


def read_seen(store: CheckpointStore, home: Path, alias: str) -> Seen | None:
    """Return the newest release of an alias that was accepted under a home directory.

    Raises:
        DocumentError: What is remembered cannot be read; that is no reason to forget it.
    """
    own = _seen_path(home, alias)
    shared = own.with_name(f"{alias.replace(':', '-')}.json")
    path = own if own.exists() else shared
    if not path.exists():
        return None
    seen = read_document(path, Seen)
    # Aliases that differ in where the colon is once had one file. What it says is another's when
    # that alias has the release, and has taken it over into a file of its own: none is forgotten.
    dashes = [place for place, sign in enumerate(shared.stem) if sign == "-" and path == shared]
    names = {f"{shared.stem[:place]}:{shared.stem[place + 1 :]}" for place in dashes} - {alias}
    is_anothers = any(
        _seen_path(home, name).exists() and has_release(store, name, seen) for name in names
    )
    return None if is_anothers else seen


def _seen_path(home: Path, alias: str) -> Path:
    return home / "seen" / f"{engine_name(alias)}.json"


@dataclass(frozen=True)
class Placement:
    """Where an engine runs; what is None is the release's."""

    host: str = "127.0.0.1"
    port: int = 8100
    kv_cache_gib: int = 1
    dtype: str | None = None
    max_model_len: int | None = None
    extra: tuple[str, ...] = ()
    """Further words for vLLM."""


@dataclass(frozen=True)
class Launcher:
    """Says what to start for an alias, and signs what was started."""

    store: CheckpointStore
    home: Path
    alias: str
    key: Ed25519PrivateKey
    """The engine's."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def release(self) -> Release:
        """Return the alias's newest release, and never accept an older one again.

        Raises:
            ReleaseInvalidError: It does not count.
            DocumentError: The trust store cannot be read.
        """
        family, _, label = self.alias.partition(":")
        path = _seen_path(self.home, self.alias)
        # From reading to writing, or who looked earlier would put an older version back: the
        # side-car asks in threads of its own, and a second launcher before it is refused.
        with locked(path.with_name(f"{path.name}.lock")):
            seen = read_seen(self.store, self.home, self.alias)
            trust = read_trust(self.home)
            release = current_release(self.store, trust, family, label, self.now(), seen)
            accepted = Seen(version=release.version, digest=release.document_digest)
            if accepted != seen or not path.exists():
                write_bytes(path, canonical_json(accepted.model_dump(mode="json")))
        return release

    def spec(self, release: Release, where: Placement) -> EngineSpec:
        """Return how a release is served.

        Args:
            release: What is served.
            where: What the operator chooses.

        Raises:
            EngineError: What is given or installed here is not the release's profile.
        """
        words = serving_words(release.profile)
        spec = EngineSpec(
            alias=self.alias,
            digest=release.checkpoint,
            checkpoint=self.store.path(release.checkpoint).resolve(),
            host=where.host,
            port=where.port,
            dtype=where.dtype or words.dtype,
            max_model_len=where.max_model_len or words.max_model_len,
            kv_cache_gib=where.kv_cache_gib,
            extra=merged(words.extra, where.extra),
        )
        self._check_profile(release, spec)
        return spec

    @staticmethod
    def _check_profile(release: Release, spec: EngineSpec) -> None:
        made, wanted = spec.profile(), release.profile
        different = [
            f"{name} is {getattr(made, name)}, not {getattr(wanted, name)}"
            for name in type(made).model_fields
            if getattr(made, name) != getattr(wanted, name)
        ]
        if different:
            raise EngineError(
                f"this is not the profile that version {release.version} of {release.alias} was "
                f"judged and signed for: {'; '.join(different)}"
            )

    @contextmanager
    def pinned(self, spec: EngineSpec) -> Iterator[PinnedCheckpoint]:
        """Yield the checkpoint to load: released now, opened, hashed, and held open.

        Raises:
            ReleaseInvalidError: The alias's newest release does not count.
            EngineError: It names another checkpoint or profile than this launcher was started for.
            CheckpointCorruptError: Its bytes are not those that were judged.
        """
        release = self.release()
        if release.checkpoint != spec.digest:
            raise EngineError(
                f"{self.alias} points to {release.checkpoint} now; start its engine again"
            )
        self._check_profile(release, spec)
        manifest = self.store.get(spec.digest)
        directory = self.home / "engines" / f"{engine_name(self.alias)}.files"
        with PinnedCheckpoint(self.store, manifest, directory) as checkpoint:
            yield checkpoint

    def attest(self, spec: EngineSpec, running: Running | None, nonce: str) -> bytes:
        """Return the signed answer to a nonce.

        Raises:
            EngineError: No engine is ready, or it serves something else than is released now.
            ReleaseInvalidError: The alias's newest release does not count (any more).
        """
        if running is None:
            raise EngineError("no engine is ready")
        release = self.release()
        if (release.checkpoint, release.profile) != (spec.digest, spec.profile()):
            raise EngineError(f"{self.alias} points to something else now; start its engine again")
        return seal(
            Attestation(
                alias=self.alias,
                checkpoint=spec.digest,
                profile=release.profile.document_digest,
                release_version=release.version,
                release=release.document_digest,
                engine_started_at=running.started_at,
                pid=running.pid,
                pid_start_ticks=running.pid_start_ticks,
                nonce=nonce,
            ),
            [self.key],
        )
