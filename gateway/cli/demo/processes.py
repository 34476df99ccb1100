"""The demo's child processes: apart from the terminal, stopped in order, never left behind.

A child gets a session of its own, so that Ctrl-C reaches only the demo, which then stops its
children in order. Should the demo itself be killed, the kernel sends each child SIGTERM (PR_SET_PDEATHSIG).
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from gateway.errors import AirlockError

PR_SET_PDEATHSIG = 1
STOP_GRACE_SECONDS = 20.0


class ChildDiedError(AirlockError):
    """A child process ended although the demo still needs it."""

    def __init__(self, name: str, status: int, log: Path) -> None:
        """Name the child, its exit status and where its log is."""
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        super().__init__(f"{name} ended with status {status}; the end of {log}:\n{tail}")


def _die_with(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent dies; runs in the child before exec."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # The parent died before the request was made.
        os.kill(os.getpid(), signal.SIGTERM)


class Children:
    """The running children, in the order in which they were started; a context manager."""

    def __init__(self, logs: Path) -> None:
        """Write each child's output to `logs/<name>.log`."""
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self, name: str) -> Path:
        """Return the file that holds `name`'s output."""
        return self._logs / f"{name}.log"

    def start(self, name: str, words: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start `words` under `name`, with `environment` added to this process's own."""
        parent = os.getpid()
        with self.log(name).open("wb") as sink:
            self._running[name] = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509 - no threads run yet
            )

    def check(self) -> None:
        """Raise when a child has ended.

        Raises:
            ChildDiedError: With the end of the child's log.
        """
        for name, process in self._running.items():
            status = process.poll()
            if status is not None:
                raise ChildDiedError(name, status, self.log(name))

    def stop(self) -> None:
        """End every child, the last started first; kill what has not gone after the grace time."""
        for process in reversed(self._running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE_SECONDS
        for process in reversed(self._running.values()):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()
