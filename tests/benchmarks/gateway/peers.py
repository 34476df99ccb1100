"""What is measured: the gateway, and routers of others where they are installed.

A peer lives in a folder of the cache, at a pinned version; one that is not there is installed, and
one that cannot be is a row that says why. None of them is a dependency of the project.
"""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.gateway.processes import GATEWAY_CORE, free_port, pinned, wait_for_port

INSTALL_SECONDS = 900
PRODUCTION_STACK = "a6c01db05f65f556235413ba8dbcfb0c01132fff"
"""The commit of vLLM's production-stack whose Python router is measured."""


@dataclass(eq=False)
class Target:
    """Where requests go, and whose CPU counts."""

    name: str
    version: str
    port: int
    pid: int
    path: str = "/v1/chat/completions"
    model: str = "m"
    headers: dict[str, str] = field(default_factory=dict)
    upstream_port: int = 0
    ports: tuple[int, ...] = ()
    """Of all workers, where there are several."""

    def asked(self, mode: str, **given) -> dict:
        return {
            "mode": mode,
            "ports": self.ports or (self.port,),
            "path": self.path,
            "model": self.model,
            "headers": self.headers,
            **given,
        }


class UnavailableError(Exception):
    """A peer cannot be measured here; the sentence says why."""


def install(command: list[str], made: Path, cwd: Path | None = None) -> None:
    """Run what installs a peer, unless it is there."""
    if made.exists():
        return
    try:
        subprocess.run(
            command, check=True, capture_output=True, timeout=INSTALL_SECONDS, cwd=cwd, text=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        last = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        raise UnavailableError(f"not installed: {' '.join(last)[:120]}") from error


def pip(cache: Path, name: str, requirement: str) -> Path:
    """Return the `bin` folder of an environment of its own with a package."""
    home = cache / name
    install([sys.executable, "-m", "venv", str(home)], home / "bin" / "pip")
    made = home / "bin" / name
    install([str(home / "bin" / "pip"), "install", "-q", requirement], made)
    return home / "bin"


@contextlib.contextmanager
def started(
    command: list[str], port: int, log: Path, core: str = GATEWAY_CORE, **given
) -> Iterator[subprocess.Popen]:
    with pinned(command, core, log, **given) as process:
        if not wait_for_port(process, port):
            raise UnavailableError(f"it did not start: {log.read_text()[-300:]}")
        yield process


@contextlib.contextmanager
def vllm_router(cache: Path, upstream: int) -> Iterator[Target]:
    command = pip(cache, "vllm-router", "vllm-router==0.1.17") / "vllm-router"
    port, other = free_port(), free_port()
    words = [str(command), "--host", "127.0.0.1", "--port", str(port)]
    words += ["--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin"]
    words += ["--prometheus-port", str(other), "--log-level", "error"]
    with started(words, port, cache / "vllm-router.run.log") as process:
        yield Target("vllm-router", "0.1.17", port, process.pid)


@contextlib.contextmanager
def smg(cache: Path, upstream: int) -> Iterator[Target]:
    command = pip(cache, "smg", "smg==1.13.0") / "smg"
    port, other = free_port(), free_port()
    words = [str(command), "launch", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin"]
    words += ["--prometheus-port", str(other), "--log-level", "error"]
    with started(words, port, cache / "smg.run.log") as process:
        yield Target("smg", "1.13.0", port, process.pid)


@contextlib.contextmanager
def litellm(cache: Path, upstream: int) -> Iterator[Target]:
    # Exactly this version: others were withdrawn or compromised.
    command = pip(cache, "litellm", "litellm[proxy]==1.103.0") / "litellm"
    port = free_port()
    base = {"api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "k", "model": "openai/m"}
    config = cache / "litellm.config.json"
    config.write_text(json.dumps({"model_list": [{"model_name": "m", "litellm_params": base}]}))
    words = [str(command), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with started(words, port, cache / "litellm.run.log") as process:
        yield Target("litellm", "1.103.0", port, process.pid)


@contextlib.contextmanager
def portkey(cache: Path, upstream: int) -> Iterator[Target]:
    home = cache / "portkey"
    home.mkdir(exist_ok=True)
    package = home / "node_modules" / "@portkey-ai" / "gateway"
    words = ["npm", "install", "--no-audit", "--no-fund", "@portkey-ai/gateway@1.15.2"]
    install(words, package, home)
    port = free_port()
    server = str(package / "build" / "start-server.js")
    words = ["node", server, "--headless", f"--port={port}"]
    with started(words, port, cache / "portkey.run.log") as process:
        headers = {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
            "authorization": "Bearer k",
        }
        yield Target("portkey", "1.15.2", port, process.pid, headers=headers)


@contextlib.contextmanager
def nginx(cache: Path, upstream: int) -> Iterator[Target]:
    command = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(command).exists():
        raise UnavailableError("not installed: apt-get install nginx-light")
    shown = subprocess.run([command, "-v"], capture_output=True, text=True, check=False).stderr
    port = free_port()
    config = cache / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {cache}/nginx.pid; error_log stderr crit;\n"
        "events { worker_connections 20000; }\n"
        "http { access_log off; client_body_buffer_size 1m;\n"
        f"  upstream engine {{ server 127.0.0.1:{upstream}; keepalive 256; }}\n"
        f"  server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000;\n"
        "    location / { proxy_pass http://engine; proxy_http_version 1.1; proxy_buffering off;\n"
        '      proxy_set_header Connection ""; } } }\n'
    )
    words = [command, "-p", str(cache), "-c", str(config)]
    with started(words, port, cache / "nginx.run.log") as process:
        yield Target("nginx", shown.strip().rpartition("/")[2], port, process.pid)


@contextlib.contextmanager
def production_stack(cache: Path, upstream: int) -> Iterator[Target]:
    # It is on no package index, and asks for a newer Python without using what is new in it.
    home = cache / "production-stack"
    install([sys.executable, "-m", "venv", str(home)], home / "bin" / "pip")
    source = f"git+https://github.com/vllm-project/production-stack@{PRODUCTION_STACK}"
    words = [str(home / "bin" / "pip"), "install", "-q", "--ignore-requires-python", source]
    install(words, home / "bin" / "vllm-router")
    port = free_port()
    words = [str(home / "bin" / "vllm-router"), "--host", "127.0.0.1", "--port", str(port)]
    words += ["--service-discovery", "static", "--static-models", "m"]
    words += ["--static-backends", f"http://127.0.0.1:{upstream}"]
    words += ["--routing-logic", "roundrobin", "--log-level", "error"]
    with started(words, port, cache / "production-stack.run.log") as process:
        yield Target("production-stack", PRODUCTION_STACK[:8], port, process.pid)


Peer = Callable[[Path, int], contextlib.AbstractContextManager[Target]]
PEERS: dict[str, Peer] = {
    "vllm-router": vllm_router,
    "smg": smg,
    "nginx": nginx,
    "portkey": portkey,
    "litellm": litellm,
    "production-stack": production_stack,
}
