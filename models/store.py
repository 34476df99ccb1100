"""The checkpoint store: directories named for their content, complete or invisible.

    store/checkpoints/<hex>/…, manifest.json      store/reports/<hex>.dsse.json
    store/staging/…/content/                      store/releases/<family>/<label>/<version>.json
    store/runs/<hex>/                             a run's log and curves, outside any digest

A checkpoint is written in `staging`, hashed, given its manifest last and renamed into place, so a
directory with a manifest is a whole checkpoint. Only safetensors weights enter, never pickles and
never code.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.admission import MANIFEST, list_files, make_durable
from models.documents import (
    Digest,
    canonical_json,
    file_sha256,
    read_document,
    translate,
    write_bytes,
)
from models.errors import (
    CheckpointCorruptError,
    CheckpointNotFoundError,
    CheckpointRefusedError,
    DocumentError,
    SignatureError,
)
from models.manifest import Lineage, Manifest, Source
from models.report import Report
from models.scratch import scratch
from models.signing import peek, seal

SEALED = ".dsse.json"
"""How the name of a signed document's file ends."""
MIN_PREFIX = 6


class CheckpointStore:
    """Checkpoints and reports under one directory."""

    def __init__(self, root: Path) -> None:
        """Use the store at `root`; it is made on the first write."""
        self.root = root

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield an empty directory to write a checkpoint into; it is gone afterwards.

        Raises:
            StoreFullError: The disk filled up, also inside the block.
            StoreReadOnlyError: The store may not be written.
        """
        try:
            with scratch(self.root / "staging") as staged:
                yield staged
        except OSError as error:
            raise translate(error, self.root) from error

    def put(
        self,
        staged: Path,
        *,
        family: str,
        hazards: tuple[str, ...],
        created_at: datetime,
        source: Source | None = None,
        lineage: Lineage | None = None,
    ) -> Manifest:
        """Move the checkpoint in `staged` into the store and return its manifest.

        When the store has these bytes already, its own manifest is returned and nothing changes.

        Raises:
            CheckpointRefusedError: A file that may not enter, or the store has these bytes in
                another family or with other hazards.
            StoreFullError: No room left.
        """
        manifest = Manifest(
            family=family,
            hazards=tuple(sorted(hazards)),
            files=list_files(staged),
            source=source,
            lineage=lineage,
            created_at=created_at,
        )
        target = self._directory(manifest.digest)
        if (target / MANIFEST).exists():
            return self._known(manifest)
        for path in staged.rglob("*"):
            if path.is_file():
                make_durable(path)
        write_bytes(staged / MANIFEST, canonical_json(manifest.model_dump(mode="json")))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            staged.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return self._known(manifest)  # Another process stored the same bytes first.
            raise
        return manifest

    def _known(self, wanted: Manifest) -> Manifest:
        """Return the manifest that the store has of the same bytes.

        Raises:
            CheckpointRefusedError: They are listed in another family or with other hazards.
        """
        known = self.get(wanted.digest)
        if (known.family, known.hazards) != (wanted.family, wanted.hazards):
            raise CheckpointRefusedError(
                wanted.digest,
                f"is here already, in the family {known.family} with {', '.join(known.hazards)}",
            )
        return known

    def get(self, digest: Digest) -> Manifest:
        """Return the manifest of a stored checkpoint; its files are not read.

        Raises:
            CheckpointNotFoundError: The store has no such checkpoint.
            CheckpointCorruptError: The manifest is of another checkpoint.
            DocumentError: The manifest cannot be read.
        """
        directory = self._directory(digest)
        if not (directory / MANIFEST).exists():
            raise CheckpointNotFoundError(digest)
        manifest = read_document(directory / MANIFEST, Manifest)
        if manifest.digest != digest:
            raise CheckpointCorruptError(digest, MANIFEST, f"describes {manifest.digest}")
        return manifest

    def path(self, digest: Digest) -> Path:
        """Return the directory of a stored checkpoint."""
        self.get(digest)
        return self._directory(digest)

    def run_path(self, digest: Digest) -> Path:
        """Return where the log and the curves of the run that made a candidate are, if any.

        They are outside the checkpoint, since a repeated run has the same bytes but other times.
        """
        return self.root / "runs" / digest.removeprefix("sha256:")

    def verify(self, digest: Digest) -> Manifest:
        """Hash every byte of a stored checkpoint again and return its manifest.

        Raises:
            CheckpointCorruptError: A file is missing, changed or not listed.
        """
        manifest = self.get(digest)
        directory = self._directory(digest)
        listed = {entry.path for entry in manifest.files}
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory).as_posix()
            if path.is_symlink() or (path.is_file() and name not in listed | {MANIFEST}):
                raise CheckpointCorruptError(digest, name, "is not listed in the manifest")
        for entry in manifest.files:
            path = directory / entry.path
            if not path.is_file():
                raise CheckpointCorruptError(digest, entry.path, "is missing")
            if path.stat().st_size != entry.bytes or file_sha256(path) != entry.sha256:
                raise CheckpointCorruptError(digest, entry.path, "has other bytes than were stored")
        return manifest

    def manifests(self) -> list[Manifest]:
        """Return the manifests of all stored checkpoints, oldest first."""
        found = [
            self.get(f"sha256:{path.parent.name}")
            for path in self.root.glob(f"checkpoints/*/{MANIFEST}")
        ]
        return sorted(found, key=lambda manifest: (manifest.created_at, manifest.digest))

    def resolve(self, name: str) -> Digest:
        """Return the digest that `name` means: a digest, or a unique prefix of its hex digits.

        No manifest is read: a damaged one is nobody's trouble but its own checkpoint's.

        Raises:
            CheckpointNotFoundError: None or several match.
        """
        prefix = name.removeprefix("sha256:")
        found = [path.parent.name for path in self.root.glob(f"checkpoints/*/{MANIFEST}")]
        matches = [hex_digits for hex_digits in found if hex_digits.startswith(prefix)]
        if len(prefix) < MIN_PREFIX or len(matches) != 1:
            raise CheckpointNotFoundError(name)
        return f"sha256:{matches[0]}"

    def put_report(self, report: Report, keys: Sequence[Ed25519PrivateKey] = ()) -> Digest:
        """Store a report's envelope under the report's digest and return that.

        Args:
            report: What was measured.
            keys: The evaluator's; an unsigned report can be read, and counts for nothing.
        """
        digest = report.document_digest
        path = self.report_path(digest)
        if keys or not path.exists():
            write_bytes(path, seal(report, keys))
        return digest

    def report_path(self, digest: Digest) -> Path:
        """Return where a report of that digest is stored."""
        return self.root / "reports" / f"{digest.removeprefix('sha256:')}{SEALED}"

    def get_report(self, digest: Digest) -> Report:
        """Return a stored report; who signed it is for `models.signing.unseal` to say.

        Raises:
            CheckpointNotFoundError: The store has none of that digest.
            DocumentError: It cannot be read.
            CheckpointCorruptError: Its content has another digest.
        """
        path = self.report_path(digest)
        if not path.exists():
            raise CheckpointNotFoundError(f"report {digest}")
        report = read_report(path)
        if report.document_digest != digest:
            raise CheckpointCorruptError(report.candidate, path.name, "was changed")
        return report

    def resolve_report(self, name: str) -> Digest:
        """Return the digest of the stored report that `name` means: a digest or a unique prefix.

        Raises:
            CheckpointNotFoundError: None or several match.
        """
        prefix = name.removeprefix("sha256:")
        found = [path.name.removesuffix(SEALED) for path in self.root.glob(f"reports/*{SEALED}")]
        matches = [hex_digits for hex_digits in found if hex_digits.startswith(prefix)]
        if len(prefix) < MIN_PREFIX or len(matches) != 1:
            raise CheckpointNotFoundError(f"report {name}")
        return f"sha256:{matches[0]}"

    def reports_for(self, candidate: Digest) -> list[Report]:
        """Return the stored reports on a candidate, oldest first.

        Raises:
            DocumentError: Any stored report cannot be read: one that is hidden might be the one
                that forbids.
        """
        paths = sorted(self.root.glob(f"reports/*{SEALED}"))
        reports = [self.get_report(f"sha256:{path.name.removesuffix(SEALED)}") for path in paths]
        mine = [report for report in reports if report.candidate == candidate]
        return sorted(mine, key=lambda report: report.ended_at)

    def _directory(self, digest: Digest) -> Path:
        return self.root / "checkpoints" / digest.removeprefix("sha256:")


def read_report(path: Path) -> Report:
    """Return the report in an envelope's file, whoever signed it.

    Raises:
        DocumentError: It is missing, is no envelope of a report, or has another shape.
    """
    try:
        return peek(path.read_bytes(), Report)
    except OSError as error:
        raise DocumentError(path, error.strerror or str(error)) from error
    except SignatureError as error:
        raise DocumentError(path, str(error)) from error
