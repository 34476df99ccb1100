"""A run that is killed at given moments and then finished, in a process of its own.

    python -m tests.unlearn.killed_run CONFIG.json BASE STORE STATE MOMENT …

Each MOMENT is a step behind which the process kills itself, or `save-N`: in the middle of the save
behind step N. Prints one line for each run: the first step that it took, and how it ended. The
last run is left alone. Every run is a fork from before anything was computed, so that libraries are
loaded once.
"""

import json
import os
import signal
import sys
from pathlib import Path

import unlearn.resume
from models.store import CheckpointStore
from unlearn.config import RunConfig, parse_table
from unlearn.plan import make_plan
from unlearn.train import StepLog, run


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def start(moment: str, config: RunConfig, base: str, store: CheckpointStore, state: Path) -> None:
    steps: list[int] = []

    def on_step(log: StepLog) -> None:
        if not steps:
            print("from", log.step, flush=True)
        steps.append(log.step)
        if moment == str(log.step):
            kill()
        if moment == f"save-{log.step}":
            unlearn.resume.os.fsync = lambda _: kill()  # The file is written, not yet in place.

    made = run(make_plan(config, base, store, state), store, state, on_step, save_every=1)
    print("made", made.digest, flush=True)


def main(file: str, base: str, store: str, state: str, *moments: str) -> None:
    config = parse_table(RunConfig, json.loads(Path(file).read_text()), file)
    for moment in (*moments, "never"):
        child = os.fork()
        if not child:
            start(moment, config, base, CheckpointStore(Path(store)), Path(state))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("ended", os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
