"""The demo itself, started as a user would, shared by every test that needs real engines."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

ROOT = Path(__file__).resolve().parents[2]
# A folder that may be absent; what is in it is checked by digest, so a stale one does no harm.
HOME = ROOT / ".cache" / "demo"
COLD_SECONDS = 900


def processes_of(home: Path) -> list[str]:
    """The command lines of running processes that mention a home directory, or serve from it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(home) in words and str(os.getpid()) != path.parent.name:
            found.append(words)
    return found


@dataclass
class Demo:
    """A running demo."""

    process: subprocess.Popen
    home: Path
    log: Path
    facts: dict

    @property
    def root(self) -> str:
        return self.facts["base_url"].removesuffix("/v1")

    def sdk(self, who: str, **given) -> openai.OpenAI:
        key = self.facts.get(f"{who}_key", who)
        given = {"max_retries": 0, "timeout": 120, **given}
        return openai.OpenAI(base_url=self.facts["base_url"], api_key=key, **given)

    def admin(self, method: str, path: str, **kwargs):
        headers = {"authorization": f"Bearer {self.facts['admin_key']}"}
        url = f"{self.root}/admin/v1{path}"
        return httpx.request(method, url, headers=headers, timeout=30, **kwargs)

    def metric(self, start: str) -> float:
        rows = httpx.get(f"{self.root}/metrics").text.splitlines()
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows if row.startswith(start))

    def engine(self, label: str) -> dict:
        return json.loads((self.home / "engines" / f"smollm2-{label}.json").read_text())

    def engine_pid(self, label: str) -> int:
        """The process id of an engine's vLLM server."""
        supervisor = self.engine(label)["pid"]
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        return int(children[0])

    def generated(self, label: str) -> float:
        """How many tokens an engine has generated so far."""
        text = httpx.get(f"{self.engine(label)['url']}/metrics").text
        rows = [row for row in text.splitlines() if row.startswith("vllm:generation_tokens_total")]
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)

    def digests(self) -> dict[str, str]:
        return {
            entry["label"]: entry["checkpoint"] for entry in self.admin("GET", "/aliases").json()
        }

    def wait_ready(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if httpx.get(f"{self.root}/readyz").status_code == 200:
                return
            time.sleep(0.5)
        raise AssertionError("the gateway is not ready again")


def start_demo(log: Path, *words: str) -> subprocess.Popen:
    """Start `airlock demo` on the shared home directory."""
    airlock = Path(sys.executable).with_name("airlock")
    with log.open("wb") as sink:
        return subprocess.Popen(
            [airlock, "--home", str(HOME), "demo", *words],
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_ready(process: subprocess.Popen, log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if "Ctrl-C stops everything" in log.read_text(errors="replace"):
            return
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        time.sleep(0.5)
    process.terminate()
    raise AssertionError(log.read_text(errors="replace")[-4000:])


def engines_begun() -> int:
    return sum("vllm.entrypoints" in words for words in processes_of(HOME))


AT_WORK = {
    "base": lambda: any(HOME.glob("store/staging/*/content/*")),
    "unlearn": lambda: (
        sum(len(log.read_text().splitlines()) for log in HOME.glob("runs/*.jsonl")) > 2
    ),
    "evaluate": lambda: engines_begun() >= 1,
    "engines": lambda: engines_begun() >= 2,
}
"""When each step that the demo is killed in is under way: what it makes is begun."""


def kill_at(step: str, log: Path) -> None:
    """Start a demo, kill it in the middle of a step, and see that nothing of it goes on."""
    process = start_demo(log, "--port", "0")
    deadline = time.monotonic() + COLD_SECONDS
    while f"] {step}:" not in log.read_text(errors="replace") or not AT_WORK[step]():
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while processes_of(HOME) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of(HOME) == []


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Iterator[Demo]:
    """The demo, ready; stopped by Ctrl-C at the end, after which nothing of it may run."""
    HOME.mkdir(parents=True, exist_ok=True)
    log = tmp_path_factory.mktemp("demo") / "demo.log"
    if not any(HOME.glob("store/reports/*.json")):
        for step in ("base", "unlearn", "evaluate", "engines"):
            kill_at(step, log)
    process = start_demo(log, "--port", "0")
    wait_until_ready(process, log, COLD_SECONDS)
    facts = json.loads((HOME / "demo.json").read_text())
    yield Demo(process, HOME, log, facts)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text(errors="replace")[-4000:]
    assert processes_of(HOME) == []
