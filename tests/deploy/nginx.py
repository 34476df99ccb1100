"""The real nginx with the real configuration, on free ports, before given gateways."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.servers import free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
# Two spellings of one address: names by which the two gateways can be told apart.
NAMES = ("127.0.0.1", "127.1")


@dataclass
class Proxy:
    """A running nginx."""

    callers: str
    people: str
    directory: Path
    process: subprocess.Popen

    def drain(self, *names: str) -> None:
        """Run the script that the container has."""
        subprocess.run(
            [self.directory / "drain.sh", *names],
            env={
                **os.environ,
                "NGINX_DIRECTORY": str(self.directory),
                "UPSTREAM": str(self.directory / "run" / "upstream.conf"),
                "NGINX_PID": str(self.process.pid),
            },
            check=True,
        )


def written(directory: Path, ports: Sequence[int]) -> tuple[int, int]:
    """Write the configuration with other paths, ports and gateways; return its ports."""
    shutil.copytree(ROOT / "deploy" / "nginx", directory)
    (directory / "run").mkdir()
    callers, people, health = free_port(), free_port(), free_port()
    text = (directory / "nginx.conf").read_text()
    for old, new in (
        ("/tmp/", f"{directory}/run/"),
        ("/etc/nginx/", f"{directory}/"),
        ("/dev/stderr", f"{directory}/run/error.log"),
        ("/dev/stdout", f"{directory}/run/access.log"),
        ("listen 8080;", f"listen 127.0.0.1:{callers};"),
        ("listen 8081;", f"listen 127.0.0.1:{people};"),
        ("127.0.0.1:8082", f"127.0.0.1:{health}"),
        ("worker_processes auto;", "worker_processes 1;"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (directory / "nginx.conf").write_text(text)
    upstream = (directory / "upstream.conf").read_text()
    for old, name, port in zip(("gateway", "gateway-2"), NAMES, ports, strict=True):
        # This nginx may be too old to resolve names again and again.
        line = f"server {old}:8000 resolve "
        assert line in upstream
        upstream = upstream.replace(line, f"server {name}:{port} ")
    kept = [line for line in upstream.splitlines() if not line.startswith("resolver ")]
    (directory / "upstream.conf").write_text("\n".join(kept) + "\n")
    shutil.copy(directory / "upstream.conf", directory / "run" / "upstream.conf")
    return callers, people


@contextlib.contextmanager
def proxy(directory: Path, ports: Sequence[int]) -> Iterator[Proxy]:
    """Run nginx before two gateways on loopback ports."""
    assert NGINX
    callers, people = written(directory, ports)
    command = [NGINX, "-c", str(directory / "nginx.conf"), "-e", str(directory / "run/error.log")]
    process = subprocess.Popen([*command, "-g", "daemon off;"])
    made = Proxy(f"http://127.0.0.1:{callers}", f"http://127.0.0.1:{people}", directory, process)
    try:
        wait_for(lambda: process.poll() is not None or answers(made.callers))
        assert process.poll() is None, (directory / "run" / "error.log").read_text()
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def answers(url: str) -> bool:
    """Whether anything listens there."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url).status_code > 0
    return False


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def pause() -> None:
    """Let nginx's new workers take over: a reload does not say when it is done."""
    time.sleep(0.5)
