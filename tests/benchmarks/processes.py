"""Runs one measurement in a fresh process and watches its memory.

    python -m tests.benchmarks.processes NAME DIRECTORY     (started by `measured`, not by hand)

The child imports what it needs, says what memory that took and waits for a line; then it does its
work. Meanwhile the parent reads the child's `/proc/PID/status`: the highest resident size is kept
by the kernel (VmHWM), the anonymous part is sampled.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_SECONDS = 0.005


class Memory(NamedTuple):
    """What a process took, in bytes."""

    resident: int
    """The peak of its resident size beyond the interpreter with its libraries."""
    anonymous: int
    """The peak of its anonymous memory (RssAnon), the interpreter included."""
    seconds: float
    """How long the work took."""


class MeasurementError(Exception):
    """A measuring process failed."""


def measured(name: str, directory: Path) -> Memory:
    """Do one of `tests.benchmarks.works` in a fresh process and return what it took.

    Args:
        name: The work's.
        directory: The benchmark's own.

    Raises:
        MeasurementError: The process failed.
    """
    command = [sys.executable, "-m", "tests.benchmarks.processes", name, str(directory.resolve())]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            raise MeasurementError(name)
        before = _status(child.pid)
        started = time.monotonic()
        child.stdin.write("go\n")
        child.stdin.flush()
        resident = anonymous = 0
        while child.poll() is None:
            now = _status(child.pid)
            resident = max(resident, now.get("VmHWM", 0))
            anonymous = max(anonymous, now.get("RssAnon", 0))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.monotonic() - started
    if child.returncode:
        raise MeasurementError(f"{name}: exit status {child.returncode}")
    return Memory(resident - before["VmRSS"], anonymous, seconds)


def _status(pid: int) -> dict[str, int]:
    """Return a process's sizes in bytes; empty once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {key: int(value.split()[0]) * 1024 for key, value in pairs if value.endswith(" kB")}


def main(name: str, directory: Path) -> None:
    """Be the child."""
    from tests.benchmarks.works import WORKS

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    WORKS[name](directory)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
