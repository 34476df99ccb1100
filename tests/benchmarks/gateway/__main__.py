"""Prints a table and, as its last line, one JSON object with the same figures.

The gateway under test has core 0, the load and the mock engine core 1. Rounds are interleaved (each
measures everybody once, one after another) and the medians shown, with the machine's load beside
them. Authentication, limits, metrics and the race against the caller's departure are on in the
gateway; the peers do less. Where a limit is missed, a profile shows where the time goes.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.gateway.ours import HOLD_EVENT_MS, airlock, upstream
from tests.benchmarks.gateway.peers import PEERS, Target, UnavailableError
from tests.benchmarks.gateway.processes import LOAD_CORE, measure, memory_mb
from tests.benchmarks.gateway.profile import profiles, show_profiles

LIMITS = {
    "request_x_vllm_router": 1.7,
    "request_x_litellm": 1 / 80,
    "request_x_production_stack": 1 / 12,
    "event_x_vllm_router": 1.5,
    "added_p50_ms": 0.3,
    "added_p99_ms": 1.0,
    "memory_64_mb": 120.0,
    "memory_5000_mb": 400.0,
    "soak_growth_mb": 2.0,
    "lost_or_wrong": 0.0,
}
"""What a figure is at most."""
progress = Console(stderr=True, highlight=False)


class Figures:
    """What each system took, round by round."""

    def __init__(self) -> None:
        self.rounds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.loads: list[float] = []
        """The machine's load average, read at each measurement; two of it are our own."""

    def add(self, name: str, **given: float) -> None:
        self.loads.append(os.getloadavg()[0])
        for key, value in given.items():
            self.rounds[name][key].append(value)
        progress.print(f"  {name}: " + ", ".join(f"{k} {v:.1f}" for k, v in given.items()))

    def are_right(self, name: str, found: dict[str, float]) -> bool:
        """Count what was lost or wrong; with any of it, what the rest took is no figure."""
        bad = found["lost"] + found["wrong"]
        self.add(name, lost_or_wrong=bad)
        return not bad

    def median(self, name: str, key: str) -> float | None:
        found = self.rounds.get(name, {}).get(key)
        return statistics.median(found) if found else None


def one_round(target: Target, figures: Figures, seconds: float) -> None:
    """Requests one after another on 64 connections, then 50 streams of 100 events at 10 ms."""
    taken = measure(target.asked("closed", connections=64, seconds=seconds), target.pid)
    found, count = taken.figures, max(taken.figures["requests"], 1)
    if figures.are_right(target.name, found):
        figures.add(
            target.name,
            request_us=taken.cpu_seconds / count * 1e6,
            per_second=count / found["seconds"],
            memory_64_mb=taken.memory_mb,
        )
    asked = target.asked("streams", connections=50, seconds=seconds, events=100)
    taken = measure(asked, target.pid)
    found, count = taken.figures, max(taken.figures["events"], 1)
    if figures.are_right(target.name, found):
        figures.add(
            target.name,
            event_us=taken.cpu_seconds / count * 1e6,
            events_per_second=count / found["seconds"],
        )


def half_rate(figures: Figures) -> float:
    """Half of what one worker can do, in requests per second."""
    return (figures.median("airlock", "per_second") or 1000.0) / 2


def latencies(
    ours: Target, peers: list[Target], figures: Figures, seconds: float, rounds: int
) -> None:
    """Latency at half of what one worker can do: straight, and through everybody given."""
    rate = half_rate(figures)
    direct = Target("direct", "", ours.upstream_port, ours.pid)
    for _ in range(rounds):
        for target in (direct, ours, *peers):
            found = measure(target.asked("steady", rate=rate, seconds=seconds), ours.pid).figures
            figures.add(
                target.name,
                p50_ms=found["p50_ms"],
                p99_ms=found["p99_ms"],
                lost_or_wrong=found["lost"] + found["wrong"],
            )


def soak(ours: Target, figures: Figures, seconds: float) -> None:
    """Memory before and after a load of some length; the first seconds fill pools and caches."""
    asked = ours.asked("closed", connections=64, seconds=min(seconds / 4, 30.0))
    measure(asked, ours.pid)
    began = memory_mb(ours.pid)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = measure(asked, ours.pid).figures
        figures.add("airlock", lost_or_wrong=found["lost"] + found["wrong"])
    figures.add("airlock", soak_growth_mb=memory_mb(ours.pid) - began)


def workers(figures: Figures, seconds: float, rounds: int) -> None:
    """Requests per second with one worker and with two, by the same load."""
    with (
        tempfile.TemporaryDirectory() as home,
        airlock(Path(home), workers=2) as two,
    ):
        for _ in range(rounds):
            for name, ports in (("1 worker", two.ports[:1]), ("2 workers", two.ports)):
                asked = two.asked("closed", connections=64, seconds=seconds) | {"ports": ports}
                found = measure(asked, two.pid).figures
                figures.add(name, per_second=found["requests"] / found["seconds"])
                figures.add("airlock", lost_or_wrong=found["lost"] + found["wrong"])


def summary(figures: Figures) -> dict[str, float | None]:
    """The figures that have limits."""

    def ratio(key: str, to: str, of: str = "airlock") -> float | None:
        ours, theirs = figures.median(of, key), figures.median(to, key)
        return ours / theirs if ours and theirs else None

    def added(key: str) -> float | None:
        ours, direct = figures.median("airlock", key), figures.median("direct", key)
        return None if ours is None or direct is None else ours - direct

    return {
        "request_us": figures.median("airlock", "request_us"),
        "request_x_vllm_router": ratio("request_us", "vllm-router"),
        "request_x_litellm": ratio("request_us", "litellm"),
        "request_x_production_stack": ratio("request_us", "production-stack"),
        "event_us": figures.median("airlock", "event_us"),
        "event_x_vllm_router": ratio("event_us", "vllm-router"),
        "added_p50_ms": added("p50_ms"),
        "added_p99_ms": added("p99_ms"),
        "memory_64_mb": figures.median("airlock", "memory_64_mb"),
        "memory_5000_mb": figures.median("airlock", "memory_5000_mb"),
        "soak_growth_mb": figures.median("airlock", "soak_growth_mb"),
        "lost_or_wrong": sum(figures.rounds["airlock"]["lost_or_wrong"]),
        "two_workers_x_one": ratio("per_second", "1 worker", "2 workers"),
    }


def show(figures: Figures, versions: dict[str, str], found: dict[str, float | None]) -> None:
    """Print the tables."""
    keys = ("request_us", "per_second", "event_us", "events_per_second", "memory_64_mb")
    keys += ("p50_ms", "p99_ms")
    title = f"CPU of one core; medians of interleaved rounds; load average {load(figures)}"
    table = Table(title=title)
    for column in ("", "version", *keys, "lost or wrong"):
        table.add_column(column)
    for name, version in versions.items():
        cells = [figures.median(name, key) for key in keys]
        wrong = (
            sum(figures.rounds.get(name, {}).get("lost_or_wrong", []))
            if name in figures.rounds
            else None
        )
        table.add_row(
            name, version, *("" if cell is None else f"{cell:.4g}" for cell in (*cells, wrong))
        )
    console = Console(width=170)
    console.print(table)
    limits = Table(title="limits")
    for column in ("", "figure", "limit", "holds"):
        limits.add_column(column)
    for key, value in found.items():
        limit = LIMITS.get(key)
        holds = "" if limit is None or value is None else "yes" if value <= limit else "NO"
        limits.add_row(key, "not measured" if value is None else f"{value:.3g}", str(limit), holds)
    limits.add_row("2 workers on free cores", "", "at least 1.8", shared_cores())
    console.print(limits)


def missed(found: dict[str, float | None]) -> list[str]:
    """The figures that are above their limits."""
    return [key for key, limit in LIMITS.items() if (found[key] or 0.0) > limit]


def load(figures: Figures) -> str:
    return f"{min(figures.loads):.1f} to {max(figures.loads):.1f}"


def shared_cores() -> str:
    """What the figure for two workers is worth here."""
    if (os.cpu_count() or 1) >= 4:
        return "the second worker shares its core with the load"
    return f"not to be shown: of {os.cpu_count()} cores the load and the mock engine take one"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gateway", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(".cache/peers"), help="of the peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--streams", type=int, default=5000, help="held open (0: none)")
    parser.add_argument("--soak", type=float, default=20.0, metavar="SECONDS", help="(0: none)")
    parser.add_argument("--workers", type=int, default=2, help="rounds with two (0: none)")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    args = parser.parse_args()
    os.sched_setaffinity(0, {int(LOAD_CORE)})  # The side-car answers in this process.
    cache = args.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    figures, versions = Figures(), {"airlock": "this tree"}
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(airlock(home))
        engine = stack.enter_context(upstream("m", 10.0, cache / "upstream.log"))
        peers: dict[Target, contextlib.ExitStack] = {}
        for name in args.peers:
            own = stack.enter_context(contextlib.ExitStack())
            try:
                peer = own.enter_context(PEERS[name](cache, engine))
                peers[peer], versions[name] = own, peer.version
            except UnavailableError as error:
                versions[name] = str(error)
                progress.print(f"{name}: {error}")
        for number in range(args.rounds):
            progress.print(f"round {number + 1} of {args.rounds}")
            for target in (ours, *peers):
                one_round(target, figures, args.seconds)
        for peer, own in list(peers.items()):
            if (figures.median(peer.name, "per_second") or 0.0) < half_rate(figures):
                own.close()  # It could not, and what it does when nobody asks is in the way.
                del peers[peer]
        latencies(ours, list(peers), figures, args.seconds, args.rounds)
        versions["direct"] = "no gateway"
        if args.soak:
            soak(ours, figures, args.soak)
        found = summary(figures)
        profiled = profiles(ours, cache, args.seconds, progress) if missed(found) else {}
    if args.workers:
        workers(figures, args.seconds, args.workers)
        versions |= {"1 worker": "this tree", "2 workers": "this tree"}
    if args.streams:
        with tempfile.TemporaryDirectory() as other, airlock(Path(other), HOLD_EVENT_MS) as ours:
            asked = ours.asked("held", connections=args.streams, events=1000)
            taken = measure(asked, ours.pid, settle_seconds=5)
            figures.add(
                "airlock",
                memory_5000_mb=taken.memory_mb,
                lost_or_wrong=taken.figures["lost"] + taken.figures["wrong"],
            )
    found = summary(figures)
    show(figures, versions, found)
    show_profiles(profiled, Console(width=170))
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": load(figures),
    }
    rounds = {
        name: {k: statistics.median(v) for k, v in r.items()} for name, r in figures.rounds.items()
    }
    print(
        json.dumps(
            {
                "machine": machine,
                "versions": versions,
                "figures": found,
                "medians": rounds,
                "two_workers": shared_cores(),
                "profiles": {mode: profiled[mode]._asdict() for mode in profiled},
            }
        )
    )


if __name__ == "__main__":
    main()
