"""Where a gateway's time goes under a load: by system and user time, by module and by function.

py-spy samples it from outside, from the load's core; it lives in the cache, as peers do.
"""

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.benchmarks.gateway.peers import Target, UnavailableError, pip
from tests.benchmarks.gateway.processes import LOAD_CORE, measure

SAMPLES_PER_SECOND = 400
LOOP = "run (asyncio/runners.py"
"""In every stack of the thread that answers; others, which wait, are taken for busy ones."""
FRAME = re.compile(r"^(?P<function>.+?) \((?P<file>[^()]*?)(?::\d+)?\)$")
TICKS_PER_SECOND = 100
"""Of `/proc/PID/stat`, on every Linux that Python is built for."""
SHOWN = 12
LOADS = {"closed": {"connections": 64}, "streams": {"connections": 50, "events": 100}}


class Profile(NamedTuple):
    """What a process did while it was watched; shares of the time that it ran."""

    kernel: float
    modules: list[tuple[str, float]]
    functions: list[tuple[str, float]]


def seconds_by_mode(pid: int) -> tuple[float, float]:
    """How long a process has run in user and in kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND


def module_of(file: str) -> str:
    """The package or module that a file belongs to, as it is imported."""
    path = file.rpartition("site-packages/")[2].removesuffix(".py").removesuffix("/__init__")
    return path.replace("/", ".").lstrip(".") or file


def read(raw: str) -> tuple[Counter[str], Counter[str]]:
    """Count samples by the module and the function in which a stack ends, C below it included."""
    modules: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        found = FRAME.match(stack.rpartition(";")[2])
        if found is None or LOOP not in stack:
            continue
        module = module_of(found["file"])
        modules[module] += int(count)
        functions[f"{module}.{found['function']}"] += int(count)
    return modules, functions


def shares(counts: Counter[str]) -> list[tuple[str, float]]:
    total = sum(counts.values()) or 1
    return [(name, count / total) for name, count in counts.most_common(SHOWN)]


def profile(target: Target, cache: Path, mode: str, seconds: float, **given: float) -> Profile:
    """Put a load on a gateway and look where it is.

    Raises:
        UnavailableError: py-spy cannot be had, or may not look.
    """
    spy = pip(cache, "py-spy", "py-spy==0.4.3") / "py-spy"
    out = cache / f"py-spy.{mode}.raw"
    words = [str(spy), "record", "--format", "raw", "--output", str(out)]
    words += ["--rate", str(SAMPLES_PER_SECOND), "--duration", str(round(seconds))]
    before = seconds_by_mode(target.pid)
    with subprocess.Popen(
        ["taskset", "-c", LOAD_CORE, *words, "--pid", str(target.pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        measure(target.asked(mode, seconds=seconds + 1, **given), target.pid)
        _, said = watching.communicate(timeout=60)
    if watching.returncode:
        raise UnavailableError(f"no profile: {said.strip()[-200:]}")
    user, kernel = (
        now - then for now, then in zip(seconds_by_mode(target.pid), before, strict=True)
    )
    modules, functions = read(out.read_text())
    return Profile(kernel / max(user + kernel, 1e-9), shares(modules), shares(functions))


def profiles(target: Target, cache: Path, seconds: float, progress: Console) -> dict[str, Profile]:
    """Where the time of requests goes, and that of streams; what cannot be had is said."""
    try:
        return {mode: profile(target, cache, mode, seconds, **LOADS[mode]) for mode in LOADS}
    except UnavailableError as error:
        progress.print(str(error))
        return {}


def show_profiles(found: dict[str, Profile], console: Console) -> None:
    """Print where the time goes."""
    for mode, profiled in found.items():
        kernel = f"{profiled.kernel:.0%} of the time in the kernel"
        table = Table(title=f"where the time goes ({mode}): {kernel}")
        for column in ("module", "of the time", "function", "of the time"):
            table.add_column(column)
        for module, function in zip(profiled.modules, profiled.functions, strict=False):
            table.add_row(module[0], f"{module[1]:.1%}", function[0], f"{function[1]:.1%}")
        console.print(table)
