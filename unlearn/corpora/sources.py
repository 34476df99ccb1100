"""Reads a corpus from the source that its spec names, and leaves out what is too short."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from unlearn.corpora.corpus import Corpus, digest_of_texts
from unlearn.corpora.files import read_texts
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
        cache: Where data sets of the hub are kept; with one there, no network is needed.
        token: The hub's access token, for gated data sets.
        min_characters: Texts of this length or shorter are left out.

    Raises:
        CorpusError: The spec is wrong, or its source is missing, empty or of another shape.
        GatedCorpusError: Access to it has not been granted.
        DownloadError: The hub cannot be reached and the cache has no copy.
        CorruptFileError: A file is not what the hub announced; it has been removed.
        DiskFullError: No room for it.
    """
    kind, _, place = spec.partition(":")
    if not place:
        raise CorpusError(spec, "begins with none of hub:, file:, builtin:")
    if kind == "hub":
        # The hub's client takes half a second to import.
        from unlearn.corpora.hub import read_hub

        found = Found(*read_hub(spec, cache=cache, token=token))
    elif kind == "file":
        found = read_local(spec, Path(place))
    elif kind == "builtin" and place in BUILTIN:
        found = Found(read_texts(spec, BUILTIN[place]), licence=BUILTIN_LICENCE)
    elif kind == "builtin":
        raise CorpusError(spec, f"is none of {', '.join(BUILTIN)}")
    else:
        raise CorpusError(spec, "begins with none of hub:, file:, builtin:")
    texts = tuple(text for text in found.texts if len(text) > min_characters and not text.isspace())
    if not texts:
        raise CorpusError(spec, f"has no text longer than {min_characters} characters")
    try:
        digest = digest_of_texts(texts)
    except UnicodeEncodeError as error:
        raise CorpusError(spec, "has a text that is no valid Unicode") from error
    return Corpus(texts, digest, spec, found.revision, found.licence)


def read_local(spec: str, path: Path) -> Found:
    """Read a file; one that was written here must still be as its manifest says.

    Raises:
        CorpusError: It cannot be read, or has changed since it was written.
    """
    written = read_written(path)
    if written is None:
        return Found(read_texts(spec, path))
    texts = tuple(read_texts(spec, path))
    if digest_of_texts(texts) != written.digest:
        raise CorpusError(spec, "has changed since it was written; see the manifest beside it")
    return Found(texts, licence=written.licence)
