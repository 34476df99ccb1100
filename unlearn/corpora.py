"""Corpora: texts to forget and texts to retain, as JSON lines of `{"text": …}`."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from models.documents import Digest
from unlearn.errors import CorpusError


class Corpus(NamedTuple):
    """Texts and their source."""

    texts: tuple[str, ...]
    digest: Digest
    spec: str
    revision: str | None = None
    licence: str | None = None


def read_corpus(
    spec: str, *, cache: Path, token: str | None = None, min_characters: int = 0
) -> Corpus:
    """Read a corpus.

    Raises:
        CorpusError: It is missing, empty, or has a row of another shape.
    """
    kind, _, place = spec.partition(":")
    path = Path(__file__).parent / f"{place}.jsonl" if kind == "builtin" else Path(place)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CorpusError(spec, error.strerror or str(error)) from error
    texts = []
    for number, line in enumerate(raw.splitlines(), 1):
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(spec, f'line {number} is not {{"text": …}}') from error
        if not isinstance(text, str) or not text.strip():
            raise CorpusError(spec, f"line {number} has no text")
        texts.append(text)
    if not texts:
        raise CorpusError(spec, "it is empty")
    return Corpus(tuple(texts), f"sha256:{hashlib.sha256(raw).hexdigest()}", spec)
