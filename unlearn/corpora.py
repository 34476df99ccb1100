"""Corpora: texts to forget and texts to retain, as JSON lines of `{"text": …}`."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from models.documents import Digest
from unlearn.errors import CorpusError


class Corpus(NamedTuple):
    """Texts, and the digest of the file that they come from."""

    texts: tuple[str, ...]
    digest: Digest


def read_corpus(path: Path) -> Corpus:
    """Read a corpus.

    Raises:
        CorpusError: It is missing, empty, or has a row of another shape.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CorpusError(path, error.strerror or str(error)) from error
    texts = []
    for number, line in enumerate(raw.splitlines(), 1):
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(path, f'line {number} is not {{"text": …}}') from error
        if not isinstance(text, str) or not text.strip():
            raise CorpusError(path, f"line {number} has no text")
        texts.append(text)
    if not texts:
        raise CorpusError(path, "it is empty")
    return Corpus(tuple(texts), f"sha256:{hashlib.sha256(raw).hexdigest()}")
