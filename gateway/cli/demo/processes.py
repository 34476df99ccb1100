"""The demo's child processes: apart from the terminal, stopped in order, never left behind.

A server gets a session of its own, so that Ctrl-C reaches only the demo, which then stops its
children in order. Should the demo itself be killed, the kernel ends each child (PR_SET_PDEATHSIG).
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from gateway.errors import AirlockError

PR_SET_PDEATHSIG = 1
STOP_GRACE_SECONDS = 25.0
AIRLOCK = str(Path(sys.executable).with_name("airlock"))


class VerbFailedError(AirlockError):
    """One of the demo's own commands ended with an error, which it has printed itself."""

    def __init__(self, words: Sequence[str], status: int) -> None:
        super().__init__(f"`airlock {' '.join(words)}` ended with status {status}")


class ChildDiedError(AirlockError):
    """A server ended although the demo still needs it."""

    def __init__(self, name: str, status: int, log: Path) -> None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        super().__init__(f"{name} ended with status {status}; the end of {log}:\n{tail}")


def run_verb(home: Path, *words: str) -> str:
    """Run `airlock --home HOME …` on this terminal and return what it says on standard output.

    Raises:
        VerbFailedError: It ended with an error.
    """
    done = subprocess.run(
        [AIRLOCK, "--home", str(home), *words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=_dying_with(signal.SIGTERM),
    )
    if done.returncode:
        print(done.stdout, end="")
        raise VerbFailedError(words, done.returncode)
    return done.stdout.strip()


class Children:
    """The running servers, in the order in which they were started; a context manager."""

    def __init__(self, logs: Path) -> None:
        """Write each server's output to `logs/<name>.log`."""
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, words: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start `airlock …` under `name`, with `environment` added to this process's own."""
        with (self._logs / f"{name}.log").open("wb") as sink:
            self._running[name] = subprocess.Popen(
                [AIRLOCK, *words],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
                preexec_fn=_dying_with(signal.SIGTERM),  # noqa: PLW1509 - no other thread runs
            )

    def check(self) -> None:
        """Raise when a server has ended.

        Raises:
            ChildDiedError: With the end of its log.
        """
        for name, process in self._running.items():
            status = process.poll()
            if status is not None:
                raise ChildDiedError(name, status, self._logs / f"{name}.log")

    def stop(self) -> None:
        """End every server, the last started first; kill what has not gone after the grace time."""
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


def free_port(wanted: int) -> int:
    """Return `wanted` if nobody listens there, else a port that is free now."""
    for port in (wanted, 0):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(candidate.getsockname()[1])
    raise AirlockError("no port is free on this machine")


def _dying_with(death_signal: signal.Signals) -> Callable[[], None]:
    """Return what a child runs before exec: ask the kernel for a signal when the parent dies."""
    parent = os.getpid()

    def prepare() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:  # The parent died before the request was made.
            os.kill(os.getpid(), death_signal)

    return prepare
