"""Where clients are pointed: a gateway's address and the keys of its people."""

import fcntl
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from anthropic import Anthropic
from openai import AsyncOpenAI, OpenAI

NODE = Path(__file__).with_name("node")
OLDEST_NODE = 20


@dataclass(frozen=True)
class Door:
    """A gateway that clients talk to, before fake engines or real ones."""

    url: str
    keys: dict[str, str]
    timeout_seconds: float = 120

    def key(self, who: str) -> str:
        return self.keys.get(who, who)

    def _given(self, who: str, given: dict) -> dict:
        return {
            "api_key": self.key(who),
            "max_retries": 0,
            "timeout": self.timeout_seconds,
            **given,
        }

    def openai(self, who: str = "public", **given) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", **self._given(who, given))

    def async_openai(self, who: str = "public", **given) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", **self._given(who, given))

    def anthropic(self, who: str = "public", **given) -> Anthropic:
        return Anthropic(base_url=self.url, **self._given(who, given))


def node_major(node: str) -> int:
    version = subprocess.run([node, "--version"], capture_output=True, check=True, text=True)
    return int(version.stdout.removeprefix("v").partition(".")[0])


def node_with_packages() -> str:
    """Return where Node is, with the locked packages installed; skip loudly where it is not."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None or node_major(node) < OLDEST_NODE:
        pytest.skip(f"NODE {OLDEST_NODE} IS MISSING: what needs it is NOT tested; install it")
    installed, lock = NODE / "node_modules/.package-lock.json", NODE / "package-lock.json"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # Tests of another process may want them too.
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            words = ["npm", "ci", "--no-audit", "--no-fund"]
            subprocess.run(words, cwd=NODE, check=True, timeout=300)
    return node


def run_node(door: Door, *words: str, who: str = "researcher") -> str:
    """Run a script of the Node clients and return what it printed."""
    node = node_with_packages()
    done = subprocess.run(
        [node, *words],
        cwd=NODE,
        env={
            "PATH": str(Path(node).parent),
            "OPENAI_BASE_URL": f"{door.url}/v1",
            "OPENAI_API_KEY": door.key(who),
            "OPENAI_MODEL": "smollm2",
        },
        capture_output=True,
        check=False,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
