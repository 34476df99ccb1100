"""Reads the texts of one file: JSON lines, Parquet, or plain text."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from unlearn.errors import CorpusError

# The published loader reads `text` alone, also of the biology corpus, whose rows have a title and
# an abstract too (wmdp c0b6c12, rmu/utils.py, `get_data`).
FIELD = "text"
SUFFIXES = (".jsonl", ".parquet", ".txt")
ROWS_AT_ONCE = 1024


def read_texts(spec: str, path: Path) -> Iterator[str]:
    """Yield a file's texts in order, empty ones too.

    Args:
        spec: The corpus, for messages.
        path: A `.jsonl` or `.parquet` file with a `text` in each row, or a `.txt` file whose
            paragraphs are the texts.

    Raises:
        CorpusError: The file cannot be read or a row has another shape; the message says which
            row, and nothing of what is in it.
    """
    if path.suffix not in SUFFIXES:
        raise CorpusError(spec, f"{path.name} is none of {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".parquet":
            yield from _parquet(spec, path)
        elif path.suffix == ".jsonl":
            with path.open("rb") as stream:
                yield from _json_lines(spec, stream)
        else:
            with path.open(encoding="utf-8") as lines:
                yield from _paragraphs(lines)
    except OSError as error:
        raise CorpusError(spec, error.strerror or f"{path.name} cannot be read") from error
    except UnicodeDecodeError as error:
        raise CorpusError(spec, f"{path.name} is not UTF-8") from error


def _json_lines(spec: str, lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            text = json.loads(line)[FIELD]
        except (ValueError, KeyError, TypeError):
            # Without a cause: a decoder's message quotes what it could not read.
            raise CorpusError(spec, f'line {number} is not {{"{FIELD}": …}}') from None
        if not isinstance(text, str):
            raise CorpusError(spec, f"line {number} has no text")
        yield text


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in chain(lines, [""]):
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield "".join(paragraph).strip()
            paragraph = []


def _parquet(spec: str, path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as opened:
            schema = opened.schema_arrow
            if FIELD not in schema.names:
                columns = ", ".join(schema.names)
                raise CorpusError(spec, f"{path.name} has no column {FIELD}; it has {columns}")
            kind = schema.field(FIELD).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise CorpusError(spec, f"{path.name}: the column {FIELD} holds no text")
            for batch in opened.iter_batches(ROWS_AT_ONCE, columns=[FIELD]):
                for text in batch.column(0).to_pylist():
                    yield text or ""
    except pa.ArrowInvalid as error:
        raise CorpusError(spec, f"{path.name} is no whole Parquet file") from error
