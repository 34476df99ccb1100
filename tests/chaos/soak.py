"""A long calm: whether gateways grow while they only do their work."""

import asyncio
import time

import psutil
from rich.console import Console

from tests.chaos.system import System
from tests.chaos.traffic import Traffic

SAMPLE_SECONDS = 10.0
SETTLE_SHARE = 0.2
"""Of the samples, those at the beginning that do not count: caches and pools fill."""


async def soak(system: System, traffic: Traffic, seconds: float, progress: Console) -> dict:
    """Watch memory (MB, proportional set size) and open files of each gateway under traffic."""
    first, began = len(traffic.asked), time.monotonic()
    samples: list[dict] = []
    while (at := time.monotonic() - began) < seconds:
        samples.append({"at": at, "gateways": [taken(g.processes()) for g in system.gateways]})
        if len(samples) % 30 == 1:
            progress.print(f"soak: {at:.0f} of {seconds:.0f} s, {samples[-1]['gateways']}")
        await asyncio.sleep(SAMPLE_SECONDS)
    asked = traffic.asked[first:]
    return {
        "seconds": seconds,
        "requests": len(asked),
        "not_served": sum(not one.is_served for one in asked),
        "growth": [
            {key: growth([s["gateways"][number][key] for s in samples]) for key in ("mb", "files")}
            for number in range(len(system.gateways))
        ],
        "samples": samples,
    }


def taken(processes: list[psutil.Process]) -> dict[str, float]:
    """What processes have taken."""
    return {
        "mb": sum(one.memory_full_info().pss for one in processes) / 2**20,
        "files": sum(one.num_fds() for one in processes),
    }


def growth(values: list[float]) -> float:
    """By how much the mean of the last quarter is above that of the first after settling."""
    settled = values[int(len(values) * SETTLE_SHARE) :]
    quarter = max(1, len(settled) // 4)
    return sum(settled[-quarter:]) / quarter - sum(settled[:quarter]) / quarter
