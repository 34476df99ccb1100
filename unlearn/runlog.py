"""A run's log: one JSON line for each step, written as it happens.

The log is written beside the run's state; `unlearn.curves` publishes it with the candidate.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from models.documents import translate

if TYPE_CHECKING:
    from unlearn.train import StepLog

LOG = "steps.jsonl"


class LoggedStep(NamedTuple):
    """One line of a log, as `unlearn.train.StepLog` was written."""

    step: int
    """From 1."""
    topic: str
    values: dict[str, float]
    """What was measured, by name: losses, retain cosine, forget norm."""


class RunLog:
    """Appends steps to a file; each line is flushed, so that `tail -f` and a crash see it."""

    def __init__(self, path: Path) -> None:
        """Continue the log at `path`, without the part of a line that a crash left at its end."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.read_bytes().rpartition(b"\n") if path.exists() else (b"", b"", b"")
        self._stream = path.open("ab")
        self._stream.truncate(len(whole[0]) + len(whole[1]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def write(self, step: "StepLog") -> None:
        """Append one step, without what a method does not measure (NaN, which JSON has not).

        Raises:
            StoreFullError: No room is left.
        """
        try:
            known = {key: value for key, value in step._asdict().items() if value == value}
            self._stream.write(json.dumps(known, allow_nan=False).encode() + b"\n")
            self._stream.flush()
        except OSError as error:
            raise translate(error, self.path) from error


def read_log(path: Path) -> list[LoggedStep]:
    """Return the steps of a log, in order.

    A run that was resumed does some steps again: the last line about a step counts. A line that a
    crash cut off is left out.
    """
    steps: dict[int, LoggedStep] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            values = json.loads(line)
            step = LoggedStep(int(values.pop("step")), str(values.pop("topic", "")), values)
            steps[step.step] = step
    return [steps[number] for number in sorted(steps)]
