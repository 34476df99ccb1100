"""Kept outcomes: finished attacks on disk, so that a run that was killed goes on where it was.

One file for each checkpoint and attack; its name is the digest of all that the outcome depends on,
the code that makes it included. It holds counts and settings, no item's text.
"""

import json
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from models.documents import Digest, digest_of, file_sha256, write_bytes
from unlearn.attacks.subject import Outcome

UNLEARN = Path(__file__).parents[1]
SHARED = (
    "batches.py",
    *(f"evaluation/{noun}.py" for noun in ("inprocess", "measure", "scoring", "tasks", "variants")),
)
LIBRARIES = ("nanogcg", "peft", "scikit-learn")


class Kept(NamedTuple):
    """A finished attack on one checkpoint."""

    outcome: Outcome
    seconds: float


class KeptOutcomes:
    """The finished attacks on one checkpoint."""

    def __init__(self, cache_folder: Path, checkpoint: Digest) -> None:
        """Look under `cache_folder`; nothing is made until there is something to keep."""
        self._folder = cache_folder / "attacks" / checkpoint.removeprefix("sha256:")

    def get(self, facts: dict[str, JsonValue]) -> Kept | None:
        """Return what is known of an attack; a damaged file counts as none."""
        try:
            read = json.loads(self._path(facts).read_bytes())
            outcome = {**read["outcome"], "layers": tuple(read["outcome"]["layers"])}
            return Kept(Outcome(**outcome), float(read["seconds"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def add(self, facts: dict[str, JsonValue], done: Kept) -> None:
        """Keep a finished attack."""
        content = {"seconds": done.seconds, "outcome": asdict(done.outcome), "facts": facts}
        write_bytes(self._path(facts), json.dumps(content).encode())

    def forget(self) -> None:
        """Throw everything away, so that it is attacked again."""
        for path in self._folder.glob("*.json"):
            path.unlink(missing_ok=True)

    def _path(self, facts: dict[str, JsonValue]) -> Path:
        return self._folder / f"{digest_of({**facts, 'code': code_digest()})[7:]}.json"


@cache
def code_digest() -> Digest:
    """Return the digest of the code that attacks: after a change nothing is taken for finished.

    That is this package, what puts and scores its items, what batches its texts, and the versions
    of the libraries that attack by themselves; an outcome's profile names the others.
    """
    files = [*sorted(Path(__file__).parent.glob("*.py")), *(UNLEARN / name for name in SHARED)]
    digests = {path.relative_to(UNLEARN).as_posix(): file_sha256(path) for path in files}
    return digest_of({"files": digests, "libraries": {name: version(name) for name in LIBRARIES}})
