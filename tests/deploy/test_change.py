"""What the pages say to type after a promotion opens the door again, in the order they say it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.app import create_app
from tests.gateway.conftest import make_settings, run_gateway
from tests.models.checkpoints import PROFILE, put_candidate, put_report
from tests.models.test_gate import report
from tests.models.trusting import point
from tests.servers import serving, serving_each

ROOT = Path(__file__).resolve().parents[2]
SECOND = re.compile(r"job promote --approve smollm2:(\w+) ")
"""The second signature, after which what serves the door attests what is released no more."""
READY = """#!/bin/sh
case "$*" in
    *python*) exec {python} -c "import urllib.request as r; r.urlopen('{url}/readyz', timeout=2)";;
esac
"""


def blocks(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def changes(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield for each block that promotes the door, and what is typed after it."""
    for block in blocks(text):
        if found := SECOND.search(block):
            yield found[1], block[found.end() :].splitlines()[1:]


def restarts(door: str, line: str) -> bool:
    """Whether a line starts a door's engine anew and waits until it is healthy."""
    words = line.split()
    return (
        words[:3] == ["docker", "compose", "up"]
        and {"--force-recreate", "--wait"} <= set(words)
        and words[-1] == f"engine-{door}"
    )


def test_roll_opens_the_door_in_the_order_of_the_page(request, tmp_path: Path):
    section = page("deploy").split("\n## Change what is served")[1].split("\n## ")[0]
    promoted, rolled_back = changes(section)
    assert promoted == rolled_back
    door, typed = promoted
    with run_gateway(make_settings(request, tmp_path, "sqlite")) as running:
        base = running.engines["base"].digest
        better = put_candidate(running.store, base, b"better").digest
        now = datetime.now(UTC)
        measured = report(started_at=now, ended_at=now, profile=PROFILE)
        put_report(running.store, measured, base, better)
        release = point(running.store, better, "unlearned", now=now)
    engine, side_car = running.engines["unlearned"], running.side_cars["unlearned"]
    fakes = [*running.engines.values(), *running.side_cars.values()]
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy/roll.sh", tmp_path / "deploy/roll.sh")
    with serving_each(fakes, lifespan="off") as urls:
        first, second = running.settings.engines
        engines = (
            first.model_copy(update={"url": urls[0], "attest_url": urls[2]}),
            second.model_copy(update={"url": urls[1], "attest_url": urls[3], "digest": better}),
        )
        settings = running.settings.model_copy(update={"engines": engines})
        with serving(create_app(settings)) as url:
            docker = tmp_path / "docker"
            docker.write_text(READY.format(python=sys.executable, url=url))
            docker.chmod(0o755)
            for line in typed:
                if restarts(door, line):
                    engine.digest, side_car.release = better, release
                    continue
                assert line == "deploy/roll.sh"
                environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ROLL_PAUSE": "0.05"}
                done = subprocess.run(
                    [script], env=environment, check=False, capture_output=True, text=True
                )
                assert done.returncode == 0, done.stderr
    assert typed[-1] == "deploy/roll.sh"


def test_an_upgrade_of_engines_starts_all_replicas_after_the_second_signature():
    ((door, typed),) = changes(page("upgrade"))
    assert [restarts(door, line) for line in typed] == [True]


@pytest.mark.parametrize("name", ["kubernetes", "upgrade"])
def test_on_kubernetes_all_replicas_start_together_on_what_was_applied(name: str):
    (block,) = [each for each in blocks(page(name)) if " delete pod " in each]
    assert block.splitlines()[:3] == [
        "kubectl apply -k deploy/kubernetes/example",
        "kubectl -n airlock delete pod --selector airlock.dev/door=unlearned",
        "kubectl -n airlock rollout status statefulset/engine-unlearned",
    ]
