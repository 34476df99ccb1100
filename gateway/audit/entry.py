"""One entry of the log, and its leaf: the canonical JSON (RFC 8785) that the tree is made of.

    {"entry":{"actor":…,"at":…,"detail":{…},"subject":…,"tag":…,"v":1},"seq":41}

The leaf holds its own sequence number, so that entries cannot be renumbered either. Not the
registry's canonical JSON: a document's digest there is older than this log, and writes numbers in
Python's way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import orjson
import rfc8785

from gateway.errors import AuditFileError

FORM = 1


@dataclass(frozen=True)
class Entry:
    """What happened: who did what to what, when. Never a prompt, a completion or a secret."""

    at: datetime
    actor: str
    tag: str
    """`source:subject:action`."""
    subject: str
    """The id of what it happened to."""
    detail: Mapping[str, object]
    """JSON values that say more."""

    @property
    def body(self) -> bytes:
        """The entry as canonical JSON, without the number that it gets later."""
        return rfc8785.dumps(
            {
                "actor": self.actor,
                "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
                "detail": cast(dict[str, Any], self.detail),
                "subject": self.subject,
                "tag": self.tag,
                "v": FORM,
            }
        )


def make_leaf(body: bytes, seq: int) -> bytes:
    """Return the leaf of an entry's body; canonical, since "entry" sorts before "seq"."""
    return b'{"entry":%b,"seq":%d}' % (body, seq)


@dataclass(frozen=True)
class Leaf:
    """An entry in its place."""

    seq: int
    entry: Entry


def read_leaf(raw: bytes) -> Leaf:
    """Read a leaf.

    Raises:
        AuditFileError: It is none, or not in its one spelling.
    """
    try:
        given = orjson.loads(raw)
        body, seq = given["entry"], given["seq"]
        entry = Entry(
            datetime.fromisoformat(body["at"]),
            body["actor"],
            body["tag"],
            body["subject"],
            body["detail"],
        )
        canonical = make_leaf(entry.body, seq)
    except (
        *(ValueError, KeyError, TypeError, AttributeError),
        *(OverflowError, RecursionError),  # A moment beyond the last year, a detail too deep.
    ) as error:
        raise AuditFileError("this is no entry of an audit log") from error
    if canonical != raw or seq < 0:
        raise AuditFileError("the entry is not canonical JSON of a known form")
    return Leaf(seq, entry)
