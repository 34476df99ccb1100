"""The SQL of a release, written down with its values: what a database must still take after it.

The file has each statement once, and calls of them in the order in which they were made.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import Binary
from psycopg.types.json import Json

FOLDER = Path(__file__).resolve().parent


class Recorded(NamedTuple):
    """What a release asked of one kind of database."""

    revision: str
    statements: list[str]
    calls: list[tuple[int, list[Any]]]
    """Which statement, and the values of each time that it was sent at once."""


def path_of(revision: str, kind: str) -> Path:
    return FOLDER / f"{revision}-{kind}.json"


def write(recorded: Recorded, kind: str) -> Path:
    path = path_of(recorded.revision, kind)
    lines = ",\n".join(json.dumps(call, default=plain) for call in recorded.calls)
    statements = ",\n".join(json.dumps(each) for each in recorded.statements)
    path.write_text(
        f'{{"revision": "{recorded.revision}",\n"statements": [\n{statements}\n],\n'
        f'"calls": [\n{lines}\n]}}\n'
    )
    return path


def read(path: Path) -> Recorded:
    found = json.loads(path.read_text(), object_hook=whole)
    calls = [(at, values) for at, values in found["calls"]]
    return Recorded(found["revision"], found["statements"], calls)


def plain(value: object) -> object:
    match value:
        case bytes() | memoryview():
            return {"$bytes": value.hex()}
        case Binary():
            return {"$bytes": value.obj.hex()}
        case Json():
            return {"$json": value.obj}
        case datetime():
            return {"$moment": value.isoformat()}
    raise TypeError(type(value))


def whole(found: dict[str, Any]) -> object:
    match found:
        case {"$bytes": text}:
            return bytes.fromhex(text)
        case {"$moment": text}:
            return datetime.fromisoformat(text)
        case {"$json": value}:
            return Json(value)
    return found
