"""What a self-written corpus was asked for and what came: the manifest beside its file."""

from pathlib import Path
from typing import Literal

from models.documents import Digest, Document, Instant, read_document
from models.errors import DocumentError
from unlearn.errors import CorpusError

Api = Literal["chat", "completions"]


class Writing(Document):
    """All that a corpus depends on, beside the engine's own arithmetic."""

    version: Literal[1] = 1
    base_url: str
    api: Api
    """`completions` for a base model without a chat template."""
    model: str
    prompt: str
    """`{topic}` in it stands for the topic."""
    topics: tuple[str, ...]
    per_topic: int
    seed: int
    """Each request's own seed is drawn from it, and so is the order of the texts."""
    temperature: float
    top_p: float
    max_tokens: int
    exclude: Digest | None
    """Of the patterns; they may hold the evaluation's wording, so they are not kept here."""


class Written(Document):
    """A finished corpus."""

    writing: Writing
    digest: Digest
    """Of the texts, in order."""
    texts: int
    dropped: int
    """Texts that an excluded pattern matched, or that were empty."""
    licence: str | None
    code_commit: str
    written_at: Instant


def manifest_path(corpus: Path) -> Path:
    """Return where the manifest of a corpus file is."""
    return corpus.with_name(f"{corpus.name}.json")


def read_written(corpus: Path) -> Written | None:
    """Return the manifest beside a corpus file; None when it has none.

    Raises:
        CorpusError: The manifest cannot be read.
    """
    path = manifest_path(corpus)
    if not path.exists():
        return None
    try:
        return read_document(path, Written)
    except DocumentError as error:
        raise CorpusError(f"file:{corpus}", f"has a manifest of another shape: {error}") from error
