"""Keeps one engine running: verify, start, watch, restart with back-off, stop without remains.

Release and bytes are verified before every start, restarts included, and the bytes again once they
are loaded: an engine whose files have changed stays down.
"""

import ctypes
import http.client
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from models.attestation import process_start_ticks
from models.engine import (
    EngineFacts,
    EngineSpec,
    State,
    api_key_path,
    engine_name,
    make_api_key,
    read_api_key,
    sole_engine,
    write_facts,
)
from models.pinned import PinnedCheckpoint

PR_SET_PDEATHSIG = 1
MAX_LOG_BYTES = 32 * 2**20
# Loaded here, since a child may not load anything between fork and exec while threads run.
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Timing:
    """How patient the supervisor is; seconds."""

    poll_seconds: float = 0.25
    probe_seconds: float = 2.0
    """Between health probes once the engine is ready."""
    probe_timeout_seconds: float = 10.0
    max_failed_probes: int = 6
    """A live process that fails so many probes in a row is hung, and is restarted."""
    start_timeout_seconds: float = 600.0
    first_backoff_seconds: float = 1.0
    max_backoff_seconds: float = 60.0
    stable_seconds: float = 120.0
    """An engine that was ready for so long starts again without back-off."""
    stop_grace_seconds: float = 10.0


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent dies; runs in the child before exec."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # The parent died before the request was made.
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Running:
    """A process that serves."""

    pid: int
    pid_start_ticks: int
    started_at: datetime


class Supervisor:
    """Runs one engine until it is told to stop."""

    def __init__(
        self,
        spec: EngineSpec,
        home: Path,
        pin: Callable[[], AbstractContextManager[PinnedCheckpoint]],
        environment: dict[str, str],
        timing: Timing | None = None,
        on_state: Callable[[State, str], None] = lambda state, detail: None,
        api_key_file: Path | None = None,
        attest_url: str = "",
        *,
        keeps_key: bool = True,
    ) -> None:
        """Prepare; nothing starts yet.

        Args:
            spec: What to serve.
            home: Where facts, key and log are kept.
            pin: Opens and hashes the checkpoint; raises when it is not what is released.
            environment: What the engine inherits.
            timing: How patient to be.
            on_state: Told of every change, with a sentence.
            api_key_file: The engine's key, where others were given it beforehand; otherwise a new
                random one is written under `home`.
            attest_url: Where the side-car answers, to say it in the facts.
            keeps_key: False to remove the key that it has made when the engine is down for good.

        Raises:
            EngineError: `api_key_file` holds no key.
        """
        self._spec = spec
        self._home = home
        self._pin = pin
        self._environment = environment
        self._timing = timing or Timing()
        self._on_state = on_state
        self._stopping = threading.Event()
        self._restarts = 0
        self._attest_url = attest_url
        self.running: Running | None = None
        """The engine that is ready now."""
        self._makes_key = api_key_file is None
        self._keeps_key = keeps_key
        self._key_file = api_key_file or api_key_path(home, spec.alias)
        if api_key_file is not None:
            read_api_key(api_key_file)  # At once, not when the first engine has been hashed.
        self.log = home / "logs" / f"engine-{engine_name(spec.alias)}.log"

    def stop(self) -> None:
        """Ask `run` to end the engine and return; safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Keep the engine running until `stop` is called.

        Raises:
            CheckpointCorruptError: The bytes to serve have changed; the engine is down.
            EngineError: Another engine of the alias runs under this home.
            ReleaseInvalidError: The alias's newest release does not count; the engine is down.
        """
        with sole_engine(self._home, self._spec.alias):
            if self._makes_key:
                make_api_key(self._home, self._spec.alias)
            try:
                self._keep_running()
            finally:
                # While no other engine of the alias can have made its own there.
                if self._makes_key and not self._keeps_key:
                    self._key_file.unlink(missing_ok=True)

    def _keep_running(self) -> None:
        backoff = self._timing.first_backoff_seconds
        try:
            while not self._stopping.is_set():
                with self._pin() as checkpoint:
                    self._tell("starting", "release and bytes verified")
                    ready_seconds, why = self._run_once(checkpoint)
                if self._stopping.is_set():
                    return
                if ready_seconds >= self._timing.stable_seconds:
                    backoff = self._timing.first_backoff_seconds
                self._restarts += 1
                # Jitter, so that engines that fell together do not start together.
                pause = backoff * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
                self._tell("restarting", f"{why}; next try in {pause:.1f} s (see {self.log})")
                self._stopping.wait(pause)
                backoff = min(2 * backoff, self._timing.max_backoff_seconds)
        finally:
            self._tell("stopped", "the engine is down")

    def _run_once(self, checkpoint: PinnedCheckpoint) -> tuple[float, str]:
        """Run the engine on a pinned checkpoint until it ends, hangs or is to stop.

        Returns:
            How long it was ready (seconds), and why it ended.
        """
        if self._is_healthy():
            # vLLM shares a port with whoever lets it: what answers would be taken for this engine.
            return 0.0, f"something else answers on {self._spec.url}"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        parent = os.getpid()
        spec = replace(self._spec, checkpoint=checkpoint.directory)
        with self.log.open("ab") as sink:
            process = subprocess.Popen(
                spec.command(),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=spec.environment(read_api_key(self._key_file), self._environment),
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509 - calls nothing that locks
            )
        try:
            return self._watch(process, checkpoint)
        finally:
            self.running = None
            self._end(process)

    def _watch(
        self, process: subprocess.Popen[bytes], checkpoint: PinnedCheckpoint
    ) -> tuple[float, str]:
        started, started_at = time.monotonic(), datetime.now(UTC)
        ready_at: float | None = None
        failed = 0
        while not self._stopping.is_set():
            status = process.poll()
            ready_seconds = time.monotonic() - ready_at if ready_at else 0.0
            if status is not None:
                return ready_seconds, f"the engine ended with status {status}"
            healthy = self._is_healthy()
            checkpoint.check()
            if ready_at is None:
                if healthy:
                    checkpoint.verify()
                    ready_at = time.monotonic()
                    ticks = process_start_ticks(process.pid)
                    self.running = Running(process.pid, ticks, started_at)
                    self._tell("ready", f"answers on {self._spec.url}")
                elif time.monotonic() - started > self._timing.start_timeout_seconds:
                    return 0.0, "the engine did not become ready in time"
            else:
                failed = 0 if healthy else failed + 1
                if failed >= self._timing.max_failed_probes:
                    return ready_seconds, f"the engine failed {failed} health probes"
            self._bound_log()
            self._nap(process, ready=ready_at is not None)
        return 0.0, "it was told to stop"

    def _nap(self, process: subprocess.Popen[bytes], *, ready: bool) -> None:
        """Wait until the next probe is due, but notice at once when the process ends."""
        due = time.monotonic() + (self._timing.probe_seconds if ready else 0.0)
        while True:
            if self._stopping.wait(self._timing.poll_seconds) or process.poll() is not None:
                return
            if time.monotonic() >= due:
                return

    def _bound_log(self) -> None:
        """Begin the log anew when it is long, and keep the one before.

        Its folder may be memory, and an engine runs for months. The engine appends, so that what it
        writes next stands at the beginning; a disk that is full does not end it.
        """
        with suppress(OSError):
            if self.log.stat().st_size > MAX_LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.1"))
                os.truncate(self.log, 0)

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection(
            self._spec.host, self._spec.port, timeout=self._timing.probe_timeout_seconds
        )
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the engine's whole process group, gently first, and wait until none of it is left.

        What dies still holds memory, devices and the port that the next engine needs.
        """
        for signal_number, grace in (
            (signal.SIGTERM, self._timing.stop_grace_seconds),
            (signal.SIGKILL, self._timing.stop_grace_seconds),
        ):
            try:
                os.killpg(process.pid, signal_number)
                process.wait(grace)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        process.poll()
        deadline = time.monotonic() + self._timing.stop_grace_seconds
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                with suppress(ChildProcessError):
                    os.waitpid(-process.pid, os.WNOHANG)  # What was handed down to this process.
                os.killpg(process.pid, 0)
                time.sleep(self._timing.poll_seconds)

    def _tell(self, state: State, detail: str) -> None:
        write_facts(
            self._home,
            EngineFacts(
                alias=self._spec.alias,
                digest=self._spec.digest,
                url=self._spec.url,
                attest_url=self._attest_url,
                api_key_file=str(self._key_file.resolve()),
                pid=os.getpid(),
                state=state,
                restarts=self._restarts,
            ),
        )
        self._on_state(state, detail)
