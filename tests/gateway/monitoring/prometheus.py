"""A real Prometheus on the deployment's configuration, with other targets and a faster clock."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from tests.servers import free_port, wait_for

PROGRAM = shutil.which("prometheus")
DEPLOY = Path(__file__).resolve().parents[3] / "deploy" / "prometheus"
JOBS = ("airlock", "airlock-engines")


@dataclass
class Prometheus:
    """One that runs."""

    url: str
    client: httpx.Client
    """Kept: to make one takes longer than most questions."""

    def ask(self, path: str, **params):
        """Return the data of an answer of its API.

        Raises:
            AssertionError: It refuses the question.
        """
        answer = self.client.get(f"{self.url}/api/v1/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expr: str) -> list[dict]:
        """Return what a query says now."""
        return self.ask("query", query=expr)["result"]

    def value(self, expr: str) -> float:
        """Return the one value of a query; 0 where there is none."""
        return float((self.query(expr) or [{"value": [0, 0]}])[0]["value"][1])


def configuration(targets: list[str]) -> dict:
    """Return `deploy/prometheus/prometheus.yml` for these targets."""
    given = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    given["global"] = dict.fromkeys(
        ("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s"
    )
    given["rule_files"] = [str(DEPLOY / "rules" / Path(given["rule_files"][0]).name)]
    del given["alerting"]
    given["scrape_configs"] = [job for job in given["scrape_configs"] if job["job_name"] in JOBS]
    for job in given["scrape_configs"]:
        job["static_configs"] = [{"targets": targets}]
    return given


@contextlib.contextmanager
def run_prometheus(folder: Path, targets: list[str]) -> Iterator[Prometheus]:
    """Run one that scrapes these gateways."""
    assert PROGRAM is not None
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration(targets)))
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                PROGRAM,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(timeout=30) as client:
            running = Prometheus(f"http://127.0.0.1:{port}", client)
            wait_for(lambda: is_ready(running), 30)
            yield running
    finally:
        process.terminate()
        process.wait(30)


def is_ready(prometheus: Prometheus) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return prometheus.client.get(f"{prometheus.url}/-/ready").status_code == 200
    return False
