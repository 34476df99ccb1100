"""The manifest: what a checkpoint is, and where it came from."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from models.documents import Digest, Document, HexSha256, Instant, Name, digest_of

Hazards = Annotated[tuple[Name, ...], Field(min_length=1)]
"""A family's hazard domains, sorted; never empty, since an empty set would open every door."""


class FileEntry(Document):
    """One file of a checkpoint."""

    path: str
    """Relative to the checkpoint, with forward slashes."""
    sha256: HexSha256
    bytes: int = Field(ge=0)

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path or path in ("", "."):
            raise ValueError("must be a plain relative path")
        return path


class Source(Document):
    """Where an imported base checkpoint came from."""

    name: str
    package: str
    version: str
    sha256: HexSha256
    """Of the package's file; of the list of files where a directory was imported."""
    license: str


class CorpusSource(Document):
    """The texts that a run read."""

    spec: str | None = None
    """As the recipe names it; None when it was not recorded (version 1)."""
    revision: str | None = None
    """Of a hub data set: the commit that it was resolved to."""
    digest: Digest
    """Of the texts, in order."""
    texts: int | None = Field(default=None, ge=0)
    """How many."""
    licence: str | None = None


class RestoreAdapter(Document):
    """The adapter that takes a low-rank update back: it is as sensitive as the base itself."""

    path: str
    """Its directory within the checkpoint."""
    rank: int = Field(ge=1)
    digest: Digest
    """Of its files' paths within that directory, sizes and contents."""


class Changes(Document):
    """What differs from the base, found by comparing the bytes after they were written."""

    differing: tuple[str, ...]
    """Tensors, by their names on disk; every other one is bit-identical."""
    tensors_compared: int = Field(ge=0)
    bytes_compared: int = Field(ge=0)
    """Bytes that were read and compared, headers included."""
    bytes_shared: int = Field(ge=0)
    """Bytes of files that were the base's own, by a hard link."""
    first_trained_layer: int | None
    """Every layer below it is bit-identical; None when a tensor outside the layers was trained."""


class Environment(Document):
    """What a run's numbers may depend on beyond the recipe and the code."""

    digest: Digest
    facts: dict[str, str]
    """Versions, the processor and its instruction set, the GPU, the number of threads."""

    @model_validator(mode="after")
    def _is_of_its_facts(self) -> Self:
        if self.digest != digest_of(self.facts):
            raise ValueError("the digest is not that of the facts")
        return self


class Lineage(Document):
    """How a candidate was made from its base.

    What has a default was not recorded in version 1, or is known only after the run.
    """

    base: Digest
    method: Name
    recipe: dict[str, JsonValue]
    """The resolved recipe, with every default filled in."""
    recipe_digest: Digest
    corpora: dict[str, CorpusSource]
    """By `domain.forget` and `domain.retain`."""
    seed: int
    steps: int = Field(ge=0)
    trained_tensors: tuple[str, ...]
    """The tensors that the run trained, by their names on disk."""
    rank: int = Field(default=0, ge=0)
    """Of the update; 0 for a full-rank one."""
    restore: RestoreAdapter | None = None
    changes: Changes | None = None
    data_order: Digest | None = None
    """Of the texts that each step read, in order."""
    environment: Environment | None = None
    code_commit: str
    """The commit of the code, with `+dirty` when the tree had changes, or `unknown`."""

    @field_validator("corpora", mode="before")
    @classmethod
    def _reads_version_1(cls, corpora: object) -> object:
        """Version 1 recorded a corpus's digest alone."""
        if not isinstance(corpora, dict):
            return corpora
        return {
            name: {"digest": source} if isinstance(source, str) else source
            for name, source in corpora.items()
        }

    @model_validator(mode="after")
    def _changed_what_it_trained(self) -> Self:
        if self.changes and not set(self.changes.differing) <= set(self.trained_tensors):
            raise ValueError("a tensor differs that was not trained")
        return self


class Manifest(Document):
    """A checkpoint: its files, its family, and its source or its lineage."""

    schema_version: Literal[1, 2] = 2
    """2 says how a candidate differs from its base, binds its restore adapter and names corpora."""
    family: Name
    hazards: Hazards
    files: Annotated[tuple[FileEntry, ...], Field(min_length=1)]
    source: Source | None = None
    lineage: Lineage | None = None
    created_at: Instant

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.source is None) == (self.lineage is None):
            raise ValueError("a checkpoint has either a source or a lineage")
        if list(self.hazards) != sorted(set(self.hazards)):
            raise ValueError("hazards must be sorted and distinct")
        paths = [entry.path for entry in self.files]
        if paths != sorted(set(paths)):
            raise ValueError("files must be sorted by path and distinct")
        restore = self.lineage.restore if self.lineage else None
        if restore and restore.digest != digest_below(restore.path, self.files):
            raise ValueError("the restore adapter is not the one among the files")
        return self

    @cached_property
    def digest(self) -> Digest:
        """The checkpoint's digest: of its files' paths, sizes and contents, and of nothing else."""
        return files_digest(self.files)

    @property
    def is_base(self) -> bool:
        """Whether nothing has been unlearned from it."""
        return self.lineage is None


def files_digest(files: Iterable[FileEntry]) -> Digest:
    """Return the digest of a checkpoint of these files, which are sorted by their paths."""
    return digest_of([entry.model_dump(mode="json") for entry in files])


def digest_below(directory: str, files: Iterable[FileEntry]) -> Digest:
    """Return the digest of a directory within a checkpoint, as if it were a checkpoint itself."""
    prefix = f"{directory}/"
    inside = [
        entry.model_copy(update={"path": entry.path.removeprefix(prefix)})
        for entry in files
        if entry.path.startswith(prefix)
    ]
    return files_digest(inside)
