"""The gateway as it is served to users: a promoted model, keys, limits, side-car, one worker."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from gateway.app import create_app
from gateway.settings import Settings
from models.store import CheckpointStore
from tests.benchmarks.gateway.peers import Target, started
from tests.benchmarks.gateway.processes import (
    GATEWAY_CORE,
    LOAD_CORE,
    ROOT,
    free_port,
    pinned,
    wait_for_port,
)
from tests.fakes.sidecar import FakeSideCar
from tests.gateway.conftest import Running, make_people
from tests.models.checkpoints import PROFILE, put_base, put_candidate, put_report
from tests.models.test_gate import report
from tests.models.trusting import point, trust_in
from tests.servers import serving, wait_for

SERVE = ("-c", "import sys; from gateway.cli import main; sys.exit(main())")
HOLD_EVENT_MS = 2000.0


@contextlib.contextmanager
def upstream(digest: str, event_ms: float, log: Path) -> Iterator[int]:
    """A mock engine on the load's core; yield its port."""
    port = free_port()
    words = [sys.executable, "-m", "tests.benchmarks.gateway.upstream", str(port), digest]
    with pinned([*words, str(event_ms)], LOAD_CORE, log) as process:
        if not wait_for_port(process, port):
            raise RuntimeError("the mock engine did not start")
        yield port


def promote(home: Path) -> tuple[str, FakeSideCar]:
    """Promote two small checkpoints; return the unlearned one's digest and its side-car."""
    store, now = CheckpointStore(home / "store"), datetime.now(UTC)
    trust_in(home)
    base = put_base(store, b"base").digest
    candidate = put_candidate(store, base, b"unlearned").digest
    put_report(store, report(started_at=now, ended_at=now, profile=PROFILE), base, candidate)
    point(store, base, "base", now=now)
    return candidate, FakeSideCar(point(store, candidate, "unlearned", now=now))


def is_answered(url: str, body: dict, headers: dict[str, str]) -> bool:
    return httpx.post(url, json=body, headers=headers).status_code == 200


@contextlib.contextmanager
def airlock(
    home: Path, event_ms: float = 10.0, workers: int = 1, python: tuple[str, ...] = ()
) -> Iterator[Target]:
    """The gateway before a mock engine; a second worker has the load's core.

    Its process writes to `gateway-PORT.log` under `home`; `python` are the interpreter's options.
    """
    (home / "secret").write_bytes(b"s" * 32)
    (home / "engine.key").write_text("engine-key")
    digest, side_car = promote(home)
    with (
        upstream(digest, event_ms, home / "upstream.log") as engine_port,
        serving(side_car, lifespan="off") as attest_url,
    ):
        port = free_port()
        engine = {
            "url": f"http://127.0.0.1:{engine_port}",
            "digest": digest,
            "api_key_file": str(home / "engine.key"),
            "attest_url": attest_url,
        }
        settings = Settings(home=home, secret_file=home / "secret", port=port)
        running = Running("", settings, create_app(settings), {}, {}, "")
        make_people(running)
        environment = os.environ | {
            "AIRLOCK_SECRET_FILE": str(home / "secret"),
            "AIRLOCK_ENGINES": json.dumps([engine]),
            # One mock engine stands for as many as 5,000 open streams would be spread over.
            "AIRLOCK_ENGINE_MAX_IN_FLIGHT": "10000",
        }
        ports = (port, *(free_port() for _ in range(workers - 1)))
        serve = [sys.executable, *python, *SERVE, "--home"]
        with contextlib.ExitStack() as stack:
            # A SQLite file is for one gateway: each further one has a copy of what they serve.
            copies = [Path(stack.enter_context(TemporaryDirectory())) for _ in ports[1:]]
            homes = (home, *(shutil.copytree(home, to, dirs_exist_ok=True) for to in copies))
            processes = [
                stack.enter_context(
                    started(
                        [*serve, str(place), "serve", "--port", str(each)],
                        each,
                        home / f"gateway-{each}.log",
                        core=GATEWAY_CORE if each == port else LOAD_CORE,
                        env=environment,
                        cwd=ROOT,
                    )
                )
                for place, each in zip(homes, ports, strict=True)
            ]
            key = {"authorization": f"Bearer {running.keys['public']}"}
            body = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}]}
            for each in ports:
                url = f"http://127.0.0.1:{each}/v1/chat/completions"
                wait_for(partial(is_answered, url, body, key), 60)
            yield Target(
                "airlock",
                "this tree",
                port,
                processes[0].pid,
                model="smollm2",
                headers=key,
                upstream_port=engine_port,
                ports=ports,
            )
