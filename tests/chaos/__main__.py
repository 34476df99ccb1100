"""Load and chaos on one machine; prints a table and, as its last line, the same as JSON."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.chaos import report
from tests.chaos.faults import Fault, faults
from tests.chaos.findings import (
    Finding,
    back_seconds,
    codes,
    cut_off,
    is_well,
    served,
    unaudited,
    wrong_door,
)
from tests.chaos.parts import AIRLOCK
from tests.chaos.soak import soak
from tests.chaos.system import System, running
from tests.chaos.traffic import Traffic

RECOVERY_SECONDS = 180.0
BEFORE_SECONDS = 2.0
TOKENS = "airlock_tokens_total"
VIOLATIONS = "airlock_tier_violation_total"
progress = Console(stderr=True, highlight=False)


async def one(system: System, traffic: Traffic, fault: Fault, seconds: float) -> Finding:
    """Have one thing go wrong for a while, wait until all is well, and look at what happened."""
    system.give_way()  # An engine that was killed is another process now.
    async with traffic.pausing():
        first, counted = len(traffic.asked), await system.engine_tokens()
        charged = await system.gateway_counts(TOKENS)
    await asyncio.sleep(BEFORE_SECONDS)
    began = time.monotonic()
    await asyncio.to_thread(fault.begin)
    await asyncio.sleep(seconds)
    ended = time.monotonic()
    await asyncio.to_thread(fault.end)
    mended = time.monotonic()
    while not is_well(traffic.asked[first:], mended, len(system.gateways)):
        if time.monotonic() > ended + RECOVERY_SECONDS:
            raise RuntimeError(f"{fault.name}: not well again after {RECOVERY_SECONDS:.0f} s")
        await asyncio.sleep(0.2)
    # What is still on its way into the counts and the log arrives when nobody asks.
    async with traffic.pausing():
        await asyncio.sleep(2)
        asked = traffic.asked[first:]
        intents, outcomes = await asyncio.to_thread(unaudited, system, asked)
        now = await system.engine_tokens()
        tokens = {
            "told": float(sum(each.tokens for each in asked if each.is_served)),
            "charged": await system.gateway_counts(TOKENS) - charged,
            "counted": sum(now.values()) - sum(counted.values()),
        }
        violations = await system.gateway_counts(VIOLATIONS)
    return Finding(
        fault=fault.name,
        began=began,
        ended=ended,
        served=served(asked, began, ended, fault.gateway),
        cut_off=cut_off(asked, began),
        codes=codes(asked),
        back_seconds=back_seconds(asked, ended),
        wrong_door=wrong_door(system, asked) + int(violations),
        intents_lost=intents,
        outcomes_lost=outcomes,
        tokens=tokens,
        resets_counts=fault.resets_counts,
    )


def verified(home: Path, folder: Path, environment: dict[str, str]) -> str:
    """Export the audit log and verify it as an auditor does; return what that says."""

    def verb(*words: str) -> str:
        done = subprocess.run(
            [*AIRLOCK, "--home", str(home), "audit", *words],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return (done.stdout if not done.returncode else done.stdout + done.stderr).strip()

    (folder / "log.pub").write_text(verb("key") + "\n")
    verb("export", "--to", str(folder / "audit.jsonl"))
    return verb("verify", str(folder / "audit.jsonl"), "--key", str(folder / "log.pub"))


async def measure(args: argparse.Namespace, folder: Path) -> dict:
    """Run everything; return what was found."""
    progress.print("starting two gateways, PostgreSQL, Redis and two engines")
    async with running(args.home.resolve(), folder) as system:
        ports = [gateway.port for gateway in system.gateways]
        traffic = Traffic(ports, system.keys, "smollm2")
        asking = asyncio.create_task(traffic.run())
        rows: list[Finding] = []
        try:
            await asyncio.sleep(3)
            chosen = [
                fault
                for fault in faults(system.parts, system.wires)
                if not args.only or any(fault.name.startswith(word) for word in args.only)
            ]
            for number, fault in enumerate(chosen, 1):
                row = await one(system, traffic, fault, args.seconds)
                rows.append(row)
                progress.print(f"[{number}/{len(chosen)}] {report.line(row)}")
            soaked = await soak(system, traffic, args.soak, progress) if args.soak else None
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        log = await asyncio.to_thread(verified, args.home, folder, system.environment)
        return {
            "requests": len(traffic.asked),
            "rows": [row.document() for row in rows],
            "soak": soaked,
            "audit": log,
            "asked": traffic.asked,
        }


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".airlock"), help="of a finished demo")
    parser.add_argument("--seconds", type=float, default=8.0, help="that each fault lasts")
    parser.add_argument("--only", nargs="*", metavar="FAULT", help="those that begin so")
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS", help="at the end")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write the page there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep state and logs there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airlock-chaos-") as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own where root starts it.
        found = asyncio.run(measure(args, folder.resolve()))
    report.show(found)
    if args.report:
        report.write(args.report, found)
    found.pop("asked")
    print(json.dumps(found))
    return 0 if report.is_right(found) else 1


if __name__ == "__main__":
    sys.exit(main())
