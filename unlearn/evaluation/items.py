"""Items: rows in the shape of WMDP's and MMLU's, their names, and the files that hold them."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict, cast

from models.documents import canonical_json, write_bytes
from unlearn.errors import SuiteError

CHOICES = 4
LETTERS = "ABCD"


class Item(TypedDict):
    """One row, in the shape of WMDP's."""

    question: str
    choices: list[str]
    answer: int
    """The index of the right choice."""


def item_id(item: Item) -> str:
    """Return the name under which a report lists an item."""
    return hashlib.sha256(canonical_json(item)).hexdigest()


def as_item(row: object, where: str) -> Item:
    """Return a row as an item, without its further columns.

    Raises:
        SuiteError: It is no question with four choices and the index of one of them.
    """
    if not isinstance(row, dict):
        raise SuiteError(where, "is no row of named columns")
    question, choices, answer = (row.get(name) for name in ("question", "choices", "answer"))
    shaped = isinstance(question, str) and isinstance(choices, list) and len(choices) == CHOICES
    if not shaped or not all(isinstance(choice, str) for choice in cast(list[object], choices)):
        raise SuiteError(where, "needs a question and four choices, all of them text")
    # JSON's true is Python's 1: a row with it was not written by hand.
    if type(answer) is not int or answer not in range(CHOICES):
        raise SuiteError(where, f"answer must be 0 to {CHOICES - 1}")
    item: Item = {
        "question": cast(str, question),
        "choices": list(cast(list[str], choices)),
        "answer": answer,
    }
    try:
        item_id(item)
    except UnicodeEncodeError as error:
        raise SuiteError(where, "holds half a sign, which is no text") from error
    return item


def read_items(path: Path) -> tuple[Item, ...]:
    """Read a local file of rows: JSON lines or Parquet.

    Raises:
        SuiteError: It cannot be read, is empty, or has a row of another shape.
    """
    try:
        rows = _parquet(path) if path.suffix == ".parquet" else _json_lines(path)
    except (OSError, ValueError) as error:
        raise SuiteError(path.name, f"cannot be read: {error}") from error
    items = tuple(as_item(row, f"{path.name}, row {n}") for n, row in enumerate(rows, 1))
    if not items:
        raise SuiteError(path.name, "has no rows")
    return items


def write_items(items: Iterable[Item], path: Path) -> None:
    """Write items as JSON lines, where the harness reads them, unless these very ones are there."""
    content = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items).encode()
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content, mode=0o600)


def _json_lines(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]


def _parquet(path: Path) -> list[object]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    return cast(list[object], table.to_pylist())
