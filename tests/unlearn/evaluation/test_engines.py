"""The engines of an evaluation: started on verified bytes with a key, always stopped."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from models import engine as serving
from tests.models.test_supervisor import pids_of
from unlearn.errors import EndpointError
from unlearn.evaluation import engines as module
from unlearn.evaluation.engines import engines, serving_profile

FAKE = Path(__file__).resolve().parents[2] / "fakes/engine.py"
COMMANDS: list[list[str]] = []
PORTS: list[int] = []


@dataclass(frozen=True)
class FakeSpec(serving.EngineSpec):
    def command(self) -> list[str]:
        COMMANDS.append(super().command())
        PORTS.append(self.port)
        return [sys.executable, str(FAKE), str(self.port), os.environ.get("FAKE_MODE", "ok")]


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(module, "EngineSpec", FakeSpec)
    COMMANDS.clear()
    PORTS.clear()


def both(pair):
    return [pair.base.digest, pair.candidate.digest]


def test_both_start_at_once_without_prefix_caching_and_stop(pair):
    with engines(pair.store, both(pair), pair.home, dict(os.environ)) as started:
        endpoints = [started[digest].endpoint() for digest in both(pair)]
        assert [endpoint.model for endpoint in endpoints] == both(pair)
        assert len({endpoint.url for endpoint in endpoints}) == 2
        assert len({endpoint.api_key for endpoint in endpoints}) == 2
        assert all(endpoint.url.startswith("http://127.0.0.1:") for endpoint in endpoints)
        assert all("--no-enable-prefix-caching" in command for command in COMMANDS)
        assert all(pids_of(str(port)) for port in PORTS)
        for command in COMMANDS:
            # As long as the model takes, so that nothing is cut.
            assert command[command.index("--max-model-len") + 1] == "512"
    assert not any(pids_of(str(port)) for port in PORTS)
    assert not list((pair.home / "keys").iterdir())


def test_where_every_answer_is_known_none_is_started(pair):
    with engines(pair.store, [], pair.home, {}) as started:
        assert started.costs() == {}


def test_one_that_is_not_needed_is_not_started(pair):
    with engines(pair.store, [pair.candidate.digest], pair.home, dict(os.environ)) as started:
        started[pair.candidate.digest].endpoint()
        assert len(COMMANDS) == 1
        assert started[pair.base.digest].endpoint().model == pair.base.digest
        assert len(COMMANDS) == 2
        assert started[pair.base.digest] is started[pair.base.digest]
        assert list(started.costs()) == [pair.candidate.digest, pair.base.digest]
    assert not any(pids_of(str(port)) for port in PORTS)


def test_they_stop_when_the_run_fails(pair):
    def fail() -> None:
        with engines(pair.store, both(pair), pair.home, {}) as started:
            started[pair.base.digest].endpoint()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(pids_of(str(port)) for port in PORTS)


def test_changed_bytes_are_not_started(pair):
    path = pair.store.path(pair.candidate.digest) / "model.safetensors"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"\xaa")
    path.chmod(0o444)
    with (
        pytest.raises(EndpointError, match="other bytes"),
        engines(pair.store, both(pair), pair.home, {}) as started,
    ):
        started[pair.candidate.digest].endpoint()
    assert len(COMMANDS) <= 1


def test_an_engine_that_never_gets_ready_is_named_with_its_log(pair, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "dies")
    monkeypatch.setattr(module, "START_SECONDS", 1.0)
    with (
        pytest.raises(EndpointError, match=r"engine-evaluation-.*\.log"),
        engines(pair.store, both(pair)[:1], pair.home, dict(os.environ)) as started,
    ):
        started[pair.base.digest].endpoint()


def test_the_profile_is_that_of_the_engine_that_would_serve(pair, monkeypatch):
    profile = serving_profile(pair.store, pair.candidate.digest)
    assert (
        profile
        == FakeSpec(
            "f:l", pair.candidate.digest, pair.store.path(pair.candidate.digest), port=1
        ).profile()
    )
    assert profile.engine == "vllm"
    assert profile.chat_template is not None
    assert "--no-enable-prefix-caching" not in profile.flags


def test_every_engine_has_processors_of_its_own():
    shares = module._shares(2)
    assert len(shares) == 2
    if len(os.sched_getaffinity(0)) >= 2:
        bound = [set(share["VLLM_CPU_OMP_THREADS_BIND"].split(",")) for share in shares]
        assert not bound[0] & bound[1]
