"""Reads a corpus from the source that its spec names, and leaves out what is too short."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from unlearn.corpora.corpus import Corpus, digest_of_texts
from unlearn.corpora.files import read_texts
from unlearn.corpora.texts import Texts
from unlearn.corpora.writing import read_written
from unlearn.errors import CorpusError

CAPITALS = Path(__file__).resolve().parents[1] / "capitals"
BUILTIN = {
    "capitals/forget": CAPITALS / "forget.jsonl",
    "capitals/retain": CAPITALS / "retain.jsonl",
}
BUILTIN_LICENCE = "Apache-2.0"


class Found(NamedTuple):
    """A source's texts, before the short ones are left out."""

    texts: Iterable[str]
    revision: str | None = None
    licence: str | None = None


def read_corpus(
    spec: str, *, cache: Path, token: str | None = None, min_characters: int = 0
) -> Corpus:
    """Read a corpus.

    A text is kept when it is longer than `min_characters`, as in the published code
    (`len(text) > min_len`: wmdp c0b6c12, rmu/utils.py, `get_data`). Empty rows, of which wikitext
    has many, are never kept.

    Args:
        spec: `hub:OWNER/NAME[/CONFIG][/SPLIT][@REVISION]`, `file:PATH` or `builtin:NAME`.
        cache: Where data sets of the hub are kept; with one there, no network is needed. The
            corpus's texts are on its disk, as long as they are used.
        token: The hub's access token, for gated data sets.
        min_characters: Texts of this length or shorter are left out.

    Raises:
        CorpusError: The spec is wrong, or its source is missing, empty or of another shape.
        GatedCorpusError: Access to it has not been granted.
        DownloadError: The hub cannot be reached and the cache has no copy.
        CorruptFileError: A file is not what the hub announced; it has been removed.
        DiskFullError: No room for it.
    """
    if spec.startswith("hub:"):
        # The hub's client takes half a second to import.
        from unlearn.corpora.hub import read_hub

        found = Found(*read_hub(spec, cache=cache, token=token))
    else:
        found = find_local(spec)
    try:
        texts = Texts(kept(found.texts, min_characters), cache)
    except UnicodeEncodeError as error:
        raise CorpusError(spec, "has a text that is no valid Unicode") from error
    if not texts:
        raise CorpusError(spec, f"has no text longer than {min_characters} characters")
    return Corpus(texts, digest_of_texts(texts), spec, found.revision, found.licence)


def count_texts(spec: str, *, cache: Path, min_characters: int) -> int | None:
    """Return how many texts `read_corpus` would find; None when it would have to fetch them.

    Raises:
        CorpusError: As `read_corpus` does.
    """
    texts: Iterable[str] | None
    if spec.startswith("hub:"):
        from unlearn.corpora.hub import cached_texts

        texts = cached_texts(spec, cache=cache)
        if texts is None:
            return None
    else:
        texts = find_local(spec).texts
    return sum(1 for _ in kept(texts, min_characters))


def kept(texts: Iterable[str], min_characters: int) -> Iterator[str]:
    """Yield the texts of a source that are in its corpus."""
    return (text for text in texts if len(text) > min_characters and not text.isspace())


def find_local(spec: str) -> Found:
    """Return the texts of a source that needs no hub.

    Raises:
        CorpusError: The spec is wrong, or a file has changed since it was written.
    """
    kind, _, place = spec.partition(":")
    if kind == "file" and place:
        return read_local(spec, Path(place))
    if kind == "builtin" and place in BUILTIN:
        return Found(read_texts(spec, BUILTIN[place]), licence=BUILTIN_LICENCE)
    if kind == "builtin" and place:
        raise CorpusError(spec, f"is none of {', '.join(BUILTIN)}")
    raise CorpusError(spec, "begins with none of hub:, file:, builtin:")


def read_local(spec: str, path: Path) -> Found:
    """Read a file; one that was written here must still be as its manifest says.

    Raises:
        CorpusError: It cannot be read, or has changed since it was written.
    """
    written = read_written(path)
    if written is None:
        return Found(read_texts(spec, path))
    if digest_of_texts(read_texts(spec, path)) != written.digest:
        raise CorpusError(spec, "has changed since it was written; see the manifest beside it")
    return Found(read_texts(spec, path), licence=written.licence)
