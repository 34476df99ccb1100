"""The manifest: what a checkpoint is, and where it came from."""

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
    """Of the package's file."""
    license: str


class Lineage(Document):
    """How a candidate was made from its base."""

    base: Digest
    method: Name
    recipe: dict[str, JsonValue]
    """The resolved recipe, with every default filled in."""
    recipe_digest: Digest
    corpora: dict[str, Digest]
    seed: int
    steps: int = Field(ge=0)
    trained_tensors: tuple[str, ...]
    """The tensors that differ from the base's; every other one is bit-identical."""
    code_commit: str
    """The commit of the code, with `+dirty` when the tree had changes, or `unknown`."""


class Manifest(Document):
    """A checkpoint: its files, its family, and its source or its lineage."""

    schema_version: Literal[1] = 1
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
        return self

    @cached_property
    def digest(self) -> Digest:
        """The checkpoint's digest: of its files' paths, sizes and contents, and of nothing else."""
        return digest_of([entry.model_dump(mode="json") for entry in self.files])

    @property
    def is_base(self) -> bool:
        """Whether nothing has been unlearned from it."""
        return self.lineage is None
