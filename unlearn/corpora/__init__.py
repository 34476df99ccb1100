"""Corpora: texts to forget and texts to retain, from wherever a recipe names them.

    hub:OWNER/NAME[/CONFIG][/SPLIT][@REVISION]   a data set of the hub: Parquet or JSON lines
    file:PATH                                    .jsonl, .parquet, or .txt (one text a paragraph)
    builtin:capitals/forget                      the demo's own

Texts are read and hashed here, never logged.
"""

from unlearn.corpora.corpus import Corpus, digest_of_texts
from unlearn.corpora.sources import count_texts, read_corpus

__all__ = ["Corpus", "count_texts", "digest_of_texts", "read_corpus"]
