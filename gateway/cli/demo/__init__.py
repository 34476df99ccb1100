"""`airlock demo`: the main job end to end, on this machine.

Every step is an `airlock` verb that can be run by hand. What is done is skipped, by digest.
"""

import argparse
import contextlib
import fcntl
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from gateway.cli.demo.job import Job
from gateway.errors import ConflictError
from models.cli.numbers import port

EXAMPLES = """\
Ctrl-C stops everything that it started. A second run skips what is done.

examples:
  airlock demo                     # serve both doors until Ctrl-C
  airlock demo --check             # ask both doors, stop, print one line of JSON
  airlock demo --method rmu
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--method",
        choices=("cut", "rmu"),
        default="cut",
        help="how to unlearn (default: %(default)s)",
    )
    parser.add_argument(
        "--check", action="store_true", help="check both doors, stop, print one line of JSON"
    )
    parser.add_argument(
        "--port", type=port, default=8000, help="port of the gateway (default: %(default)s)"
    )
    parser.add_argument(
        "--setup-seconds", type=float, default=0.0, help="how long the set-up took, for the report"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    args.home.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    console = Console(highlight=False, soft_wrap=True)
    with only_one(args.home):
        job = Job(args.home.resolve(), console, args.method, args.port)
        job.seconds["environment"] = round(args.setup_seconds, 1)
        return job.run(check=args.check)


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the lock of a home directory; the kernel gives it back however the demo ends.

    Raises:
        ConflictError: Another demo holds it.
    """
    with (home / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"a demo is running in {home} already; stop it first") from error
        yield


def _interrupt(*_: object) -> NoReturn:
    """Stop on SIGTERM as on Ctrl-C, also when a script started the demo with SIGINT ignored."""
    raise KeyboardInterrupt
