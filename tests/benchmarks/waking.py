"""What it costs a Python program to be woken: `python -m tests.benchmarks.waking`, some 10 seconds.

One process sends a message over loopback TCP and waits for the answer, another does a fixed piece
of work for each; they have a core each. It prints a table of what work and answer take when the
second sleeps between messages, when it polls, and when something else keeps its core from sleeping,
and as its last line one JSON object with the same figures.

A gateway that is asked once in a while pays for the first of them, one with a full queue for none.
On bare metal the three are close. In a virtual machine a core that has nothing to do is handed back
to the host, and whatever runs when it returns runs with cold caches.
"""

import contextlib
import json
import multiprocessing
import os
import re
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from urllib.parse import parse_qs, urlsplit

from rich.console import Console
from rich.table import Table

MESSAGES = 10_000
PAUSE_SECONDS = 100e-6
"""Between an answer and the next message; the sender spends it awake."""
WORKER_CORE, SENDER_CORE = 0, 1
DOCUMENT = json.dumps([{"n": n, "text": str(n) * 5} for n in range(8)])
PAIRS = re.compile(r"(\w+)=(\d+)")


@dataclass(frozen=True)
class Taken:
    """Medians of one way to wait, in microseconds."""

    work_us: float
    answer_us: float
    cpu_us: float
    """Of the worker's process, for each message, its waiting included."""


def work() -> object:
    """Run a little of many things, as answering a request does."""
    rows = sorted(json.loads(DOCUMENT), key=lambda row: row["text"])
    query = parse_qs(urlsplit("http://host:80/path?a=1&b=2").query)
    return json.dumps(rows), query, [m.groups() for m in PAIRS.finditer("a=1 b=2 c=3")]


def work_alone_us() -> float:
    """What the work takes when nothing comes between."""
    os.sched_setaffinity(0, {WORKER_CORE})
    times = []
    for _ in range(MESSAGES):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def send(to: socket.socket) -> None:
    """Send messages one after another, each when the one before is answered."""
    os.sched_setaffinity(0, {SENDER_CORE})
    for _ in range(MESSAGES):
        until = time.perf_counter() + PAUSE_SECONDS
        while time.perf_counter() < until:
            pass
        to.sendall(b"m" * 400)
        to.recv(4096)


def sleep_for(connection: socket.socket) -> None:
    """Wait for a message asleep."""
    connection.recv(4096)


def poll_for(connection: socket.socket) -> None:
    """Wait for a message awake."""
    while True:
        with contextlib.suppress(BlockingIOError):
            connection.recv(4096, socket.MSG_DONTWAIT)
            return


def answers(wait: Callable[[socket.socket], None]) -> Taken:
    """Answer the sender's messages."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    for each in (ours, theirs):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sender = multiprocessing.get_context("fork").Process(target=send, args=(ours,))
    sender.start()
    os.sched_setaffinity(0, {WORKER_CORE})
    works, sends = [], []
    cpu_began = time.process_time()
    for _ in range(MESSAGES):
        wait(theirs)
        began = time.perf_counter()
        work()
        worked = time.perf_counter()
        theirs.sendall(b"a" * 400)
        works.append(worked - began)
        sends.append(time.perf_counter() - worked)
    cpu = time.process_time() - cpu_began
    sender.join()
    for each in (ours, theirs, listener):
        each.close()
    return Taken(
        statistics.median(works) * 1e6, statistics.median(sends) * 1e6, cpu / MESSAGES * 1e6
    )


@contextlib.contextmanager
def core_kept_awake() -> Iterator[None]:
    """Keep the worker's core busy with what gives way to everything else."""
    keeper = multiprocessing.get_context("fork").Process(target=_spin, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        keeper.kill()
        keeper.join()


def _spin() -> None:
    os.sched_setaffinity(0, {WORKER_CORE})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


def main() -> None:
    """Measure each way to wait, and print what it takes."""
    if os.cpu_count() == 1:
        raise SystemExit("The two processes need a core each; this machine has one.")
    alone = work_alone_us()
    found = {"asleep": answers(sleep_for), "polling": answers(poll_for)}
    with core_kept_awake():
        found["asleep, core kept awake"] = answers(sleep_for)
    table = Table("waits", "work, µs", "of alone", "answer, µs", "CPU, µs")
    table.add_row("never", f"{alone:.1f}", "1.0", "", "")
    for name, taken in found.items():
        table.add_row(
            name,
            f"{taken.work_us:.1f}",
            f"{taken.work_us / alone:.1f}",
            f"{taken.answer_us:.1f}",
            f"{taken.cpu_us:.1f}",
        )
    Console().print(table)
    print(json.dumps({"alone_us": alone} | {k: asdict(v) for k, v in found.items()}))


if __name__ == "__main__":
    main()
