"""Answers that were measured already, so that a run that was killed goes on where it was.

One file for each checkpoint, profile and harness; one line for each continuation: the SHA-256 of
its tokens and its log-likelihood. No text is in it. A line that was cut off by a kill is not read.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from models.documents import Digest, digest_of
from models.report import Profile


class Continuation(NamedTuple):
    """What is scored: how likely some tokens are after others."""

    context: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def key(self) -> str:
        """The name under which its likelihood is kept."""
        return hashlib.sha256(repr((self.context, self.tokens)).encode()).hexdigest()


Scored = list[tuple[Continuation, float | None]]
"""Log-likelihoods in nats; None where none came back."""
Scorer = Callable[[Sequence[Continuation]], Iterator[Scored]]


class Answers:
    """Log-likelihoods in nats by continuation."""

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self._path = path
        self._known: dict[str, float] = {}
        if path.exists():
            lines = path.read_bytes().split(b"\n")[:-1]  # The last part is empty, or cut off.
            # A line that was cut off is followed by whole ones once a run has gone on.
            for line in lines:
                self._read(line)

    def _read(self, line: bytes) -> None:
        try:
            key, value = json.loads(line)
            self._known[str(key)] = float(value)
        except (ValueError, TypeError):
            return

    def get(self, continuation: Continuation) -> float | None:
        """Return a likelihood that is known."""
        return self._known.get(continuation.key)

    def add(self, found: Iterable[tuple[Continuation, float]]) -> None:
        """Keep likelihoods, on disk before this returns to the caller's caller."""
        lines = []
        for continuation, value in found:
            self._known[continuation.key] = value
            lines.append(json.dumps([continuation.key, value]) + "\n")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not self._path.exists()
        with self._path.open("a", encoding="ascii") as stream:
            # After a kill the file may end inside a line; a new line ends that one.
            stream.write("".join(lines) if fresh else "\n" + "".join(lines))

    def forget(self) -> None:
        """Throw everything away, so that it is measured again."""
        self._known.clear()
        self._path.unlink(missing_ok=True)


def answers_path(cache: Path, checkpoint: Digest, profile: Profile, version: str) -> Path:
    """Return where the answers of a checkpoint in a profile are kept."""
    run = digest_of({"profile": profile.model_dump(mode="json"), "harness": version})
    return cache / "answers" / checkpoint.removeprefix("sha256:") / f"{run[7:]}.jsonl"
