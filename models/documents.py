"""How the registry's files are written and read: canonical JSON, SHA-256, atomic replacement.

Every document is a frozen pydantic model with a version; an unknown field is an error, so that an
old reader never ignores what a new writer meant.
"""

import errno
import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from models.errors import DocumentError, RegistryError, StoreFullError, StoreReadOnlyError

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""The SHA-256 of a canonical JSON document, or of a checkpoint's list of files."""

HexSha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The SHA-256 of a file's bytes."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""A family, a label or a hazard domain: safe as a file name and in a model name."""

Instant = AwareDatetime

AnyDocument = TypeVar("AnyDocument", bound="Document")


class Document(BaseModel):
    """A value that is stored as canonical JSON and known by its digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def document_digest(self) -> Digest:
        """The digest of the whole document."""
        return digest_of(self.model_dump(mode="json"))


def canonical_json(value: object) -> bytes:
    """Return `value` as UTF-8 JSON with sorted keys and no spaces; NaN and infinity are errors."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest_of(value: object) -> Digest:
    """Return the digest of `value`'s canonical JSON."""
    return f"sha256:{hashlib.sha256(canonical_json(value)).hexdigest()}"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_document(path: Path, kind: type[AnyDocument]) -> AnyDocument:
    """Return the document at `path`.

    Raises:
        DocumentError: It is missing, is no JSON, or has another shape.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DocumentError(path, error.strerror or str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise DocumentError(path, f"{where}: {first['msg']}") from error


def write_bytes(path: Path, content: bytes, *, mode: int = 0o444, replace: bool = True) -> None:
    """Write a file so that it is visible either whole or not at all.

    Args:
        path: Where; its directory is made.
        content: The bytes.
        mode: The file's permissions.
        replace: False to fail when the file exists already.

    Raises:
        FileExistsError: `replace` is false and the file exists.
        StoreFullError: No room is left.
        StoreReadOnlyError: It may not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
                os.fchmod(stream.fileno(), mode)
            if replace:
                Path(scratch).replace(path)
            else:
                os.link(scratch, path)
            _flush(path.parent)
        finally:
            Path(scratch).unlink(missing_ok=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise translate(error, path) from error


def _flush(directory: Path) -> None:
    """Write to the disk which files a directory has: a revocation must outlast a power cut."""
    with suppress(OSError):  # Not every file system does that, nor everybody who may write.
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def translate(error: OSError, path: Path) -> OSError | RegistryError:
    """Return what a failed write means: a full disk, a store that is read-only, or itself."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(path)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StoreReadOnlyError(path)
    return error
