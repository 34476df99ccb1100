"""The supervisor: verify before every start, restart with back-off, leave nothing behind."""

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from models import supervisor
from models.engine import EngineSpec, facts_path, read_facts
from models.errors import CheckpointCorruptError, EngineError
from models.supervisor import Supervisor, Timing
from tests.servers import free_port, wait_for


class Files:
    """Stands for a pinned checkpoint; what it finds wrong can be planted."""

    directory = Path(".")

    def __init__(self, verify=lambda: None) -> None:
        self.verify = self.check = verify


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


FAKE = Path(__file__).resolve().parents[1] / "fakes/engine.py"
FAST = Timing(
    poll_seconds=0.02,
    probe_seconds=0.05,
    probe_timeout_seconds=0.3,
    max_failed_probes=2,
    first_backoff_seconds=0.1,
    stop_grace_seconds=2,
)


@dataclass(frozen=True)
class FakeSpec(EngineSpec):
    mode: str = "ok"

    def command(self) -> list[str]:
        return [sys.executable, str(FAKE), str(self.port), self.mode]


class Run:
    """A supervisor in a thread."""

    def __init__(
        self, home: Path, mode: str = "ok", pin=lambda: nullcontext(Files()), port: int = 0
    ) -> None:
        port = port or free_port()
        self.spec = FakeSpec("f:l", "sha256:" + "0" * 64, home, port=port, mode=mode)
        self.states: list[str] = []
        self.error: Exception | None = None
        self.supervisor = Supervisor(
            self.spec, home, pin, dict(os.environ), FAST, lambda s, _: self.states.append(s)
        )
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        try:
            self.supervisor.run()
        except CheckpointCorruptError as error:
            self.error = error

    def stop(self) -> None:
        self.supervisor.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def pids(self) -> list[int]:
        return pids_of(str(self.spec.port))


def pids_of(word: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if word in line and ("engine.py" in line or "sleep(600)" in line):
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def start(tmp_path):
    runs: list[Run] = []

    def make(*args, **kwargs) -> Run:
        runs.append(Run(tmp_path, *args, **kwargs))
        return runs[-1]

    yield make
    for run in runs:
        run.stop()
        assert run.pids() == []


def test_a_second_engine_of_an_alias_leaves_the_first_ones_files_alone(start, tmp_path):
    run = start()
    wait_for(lambda: "ready" in run.states)
    facts = read_facts(tmp_path, "f:l")
    key = Path(facts.api_key_file).read_text()
    second = Supervisor(run.spec, tmp_path, lambda: pytest.fail("it loads"), dict(os.environ), FAST)
    with pytest.raises(EngineError, match=r"an engine of f:l runs under .* already"):
        second.run()
    assert (read_facts(tmp_path, "f:l"), Path(facts.api_key_file).read_text()) == (facts, key)
    run.stop()
    again = start()
    wait_for(lambda: "ready" in again.states)


def test_it_becomes_ready_and_stops_without_remains(start, tmp_path):
    run = start("child")
    wait_for(lambda: "ready" in run.states)
    facts = read_facts(tmp_path, "f:l")
    assert (facts.state, facts.url) == ("ready", run.spec.url)
    assert facts_path(tmp_path, "f:l").stat().st_mode & 0o777 == 0o600
    assert Path(facts.api_key_file).stat().st_mode & 0o777 == 0o600
    assert len(run.pids()) == 2
    run.stop()
    assert run.pids() == []
    assert read_facts(tmp_path, "f:l").state == "stopped"


def test_a_killed_engine_comes_back_with_the_same_key_and_port(start, tmp_path):
    run = start()
    wait_for(lambda: "ready" in run.states)
    key = Path(read_facts(tmp_path, "f:l").api_key_file).read_text()
    os.kill(run.pids()[0], signal.SIGKILL)
    wait_for(lambda: run.states.count("ready") == 2)
    assert read_facts(tmp_path, "f:l").restarts == 1
    assert Path(read_facts(tmp_path, "f:l").api_key_file).read_text() == key


def test_a_long_log_begins_anew_and_the_one_before_is_kept(start, monkeypatch):
    monkeypatch.setattr(supervisor, "MAX_LOG_BYTES", 1000)
    run = start()
    wait_for(lambda: run.states[-1:] == ["ready"])
    log = run.supervisor.log
    with log.open("ab") as sink:
        sink.write(b"x" * 1001)
    wait_for(lambda: log.stat().st_size < 1000)
    assert log.with_name(f"{log.name}.1").read_bytes().endswith(b"x" * 1001)
    (engine,) = run.pids()
    (flags,) = re.findall(r"^flags:\s+(\d+)$", Path(f"/proc/{engine}/fdinfo/1").read_text(), re.M)
    assert int(flags, 8) & os.O_APPEND, "it would go on where it was, after a hole"


def test_an_engine_that_dies_at_once_is_tried_again_and_again(start):
    run = start("dies")
    wait_for(lambda: run.states.count("restarting") >= 3)
    assert "ready" not in run.states


def test_what_else_answers_on_its_port_is_not_taken_for_it(start):
    """Nothing would be attested of weights that are still being loaded."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        run = start(port=other.server_port)
        wait_for(lambda: run.states.count("restarting") >= 2)
        other.shutdown()
    assert "ready" not in run.states
    wait_for(lambda: "ready" in run.states)


def test_a_hung_engine_is_restarted(start):
    run = start("hangs")
    wait_for(lambda: run.states.count("ready") == 2, 15)


def corrupt() -> None:
    raise CheckpointCorruptError("sha256:0", "model.safetensors", "has other bytes")


def test_bytes_that_changed_between_two_starts_are_not_served(start):
    calls = []

    def pin():
        calls.append(1)
        if len(calls) > 1:
            corrupt()
        return nullcontext(Files())

    run = start(pin=pin)
    wait_for(lambda: "ready" in run.states)
    os.kill(run.pids()[0], signal.SIGKILL)
    wait_for(lambda: run.error is not None)
    assert run.states[-1] == "stopped"
    assert run.pids() == []


def test_bytes_that_changed_while_they_were_loaded_are_not_served(start):
    files = Files()
    files.verify = corrupt
    run = start(pin=lambda: nullcontext(files))
    wait_for(lambda: run.error is not None)
    assert "ready" not in run.states
    assert run.pids() == []


def test_bytes_that_change_later_end_the_engine(start):
    files = Files()
    run = start(pin=lambda: nullcontext(files))
    wait_for(lambda: "ready" in run.states)
    assert run.supervisor.running.pid == run.pids()[0]
    files.check = corrupt
    wait_for(lambda: run.error is not None)
    assert run.supervisor.running is None
    assert run.pids() == []


def test_a_killed_supervisor_takes_its_engine_with_it(tmp_path):
    port = free_port()
    code = f"""
import os, sys
sys.path.insert(0, {str(FAKE.parents[2])!r})
from pathlib import Path
from tests.models.test_supervisor import FAST, FakeSpec, Files, Supervisor, nullcontext
spec = FakeSpec("f:l", "sha256:" + "0" * 64, Path("."), port={port})
home = Path({str(tmp_path)!r})
Supervisor(spec, home, lambda: nullcontext(Files()), dict(os.environ), FAST).run()
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: pids_of(str(port)))
    process.kill()
    process.wait()
    wait_for(lambda: not pids_of(str(port)))


def test_the_key_is_not_on_the_command_line_and_prompts_are_not_logged(tmp_path):
    spec = EngineSpec("f:l", "sha256:" + "0" * 64, tmp_path)
    command = spec.command()
    inherited = {
        "PATH": "/bin",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_PLUGINS": "x",
        "LD_PRELOAD": "x",
        "PYTHONPATH": "x",
        "AIRLOCK_SECRET_FILE": "x",
    }
    environment = spec.environment("the-key", inherited)
    assert environment.keys() & inherited.keys() == {"PATH"}
    assert environment["VLLM_API_KEY"] == "the-key"
    assert "the-key" not in " ".join(command)
    assert "--no-enable-log-requests" in command
    assert command[command.index("--served-model-name") + 1 :][:2] == ["f:l", spec.digest]
    assert environment["HF_HUB_OFFLINE"] == "1"
