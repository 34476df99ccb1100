"""What a corpus is: texts in an order, and where they come from."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from models.documents import Digest


class Corpus(NamedTuple):
    """Texts and their source."""

    texts: Sequence[str]
    """Mostly on disk (`unlearn.corpora.texts`): take what is needed, when it is needed."""
    digest: Digest
    """Of the texts, in order: the same texts have the same digest, whatever file held them."""
    spec: str
    """The source, as the recipe names it."""
    revision: str | None = None
    """The commit that a hub data set was resolved to."""
    licence: str | None = None
    """As the source states it; None when it states none."""


def digest_of_texts(texts: Iterable[str]) -> Digest:
    """Return the digest of texts, in order.

    Each text is hashed as the length of its UTF-8 form (8 bytes, big-endian) and that form, so
    that no two lists of texts run together to the same bytes.

    Raises:
        UnicodeEncodeError: A text has half of a surrogate pair.
    """
    state = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        state.update(len(encoded).to_bytes(8, "big"))
        state.update(encoded)
    return f"sha256:{state.hexdigest()}"
