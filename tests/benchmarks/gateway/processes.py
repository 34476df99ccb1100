"""Processes that are pinned to a core, and what they take: CPU to the nanosecond, and memory."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parents[3]
GATEWAY_CORE, LOAD_CORE = "0", "1"
START_SECONDS = 90


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def pinned(command: list[str], core: str, log: Path, **given) -> Iterator[subprocess.Popen]:
    """Run a command on one core, in a process group of its own."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", core, *command],
            cwd=given.pop("cwd", ROOT),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **given,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_port(process: subprocess.Popen, port: int) -> bool:
    """Wait until a process listens; whether it does."""
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.1)
    return False


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """The time that the threads of a process tree have run, by the scheduler's own count."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_mb(pid: int) -> float:
    """The proportional set size of a process tree."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            rows = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            total += sum(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    return total / 1024


class Taken(NamedTuple):
    """What a load found, and what the gateway took meanwhile."""

    figures: dict
    cpu_seconds: float
    memory_mb: float


@contextlib.contextmanager
def load(asked: dict) -> Iterator[tuple[IO[str], IO[str]]]:
    """Run the load on its core; yield its input and output."""
    command = [sys.executable, "-m", "tests.benchmarks.gateway.load", json.dumps(asked)]
    with subprocess.Popen(
        ["taskset", "-c", LOAD_CORE, *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        yield process.stdin, process.stdout
        process.stdin.close()
        process.wait(30)


def measure(asked: dict, pid: int, *, settle_seconds: float = 0.0) -> Taken:
    """Put a load on a gateway and read what its process tree takes from `begin` to `end`."""
    with load(asked) as (given, out):
        if out.readline() != "begin\n":
            raise RuntimeError("the load did not begin")
        before = cpu_seconds(pid)
        time.sleep(settle_seconds)
        memory = memory_mb(pid)
        if asked["mode"] == "held":
            given.write("\n")
            given.flush()
        word, _, figures = out.readline().partition(" ")
        took = cpu_seconds(pid) - before
        if word != "end":
            raise RuntimeError("the load did not end")
    return Taken(json.loads(figures), took, memory)
