"""The engines of an evaluation: started on verified bytes with a key, always stopped."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from models import engine as serving
from tests.models.test_supervisor import pids_of
from unlearn.errors import EndpointError, SuiteError
from unlearn.evaluation import engines as module
from unlearn.evaluation.engines import engines

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
def fake():
    COMMANDS.clear()
    PORTS.clear()


def both(pair):
    return [pair.base.digest, pair.candidate.digest]


def served(pair, **changes) -> FakeSpec:
    return FakeSpec("", pair.candidate.digest, pair.store.path(pair.candidate.digest), **changes)


def test_both_start_at_once_without_prefix_caching_and_stop(pair):
    with engines(pair.store, both(pair), served(pair), pair.home, dict(os.environ)) as started:
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
    with engines(pair.store, [], served(pair), pair.home, {}) as started:
        assert started.costs() == {}


def test_one_that_is_not_needed_is_not_started(pair):
    with engines(
        pair.store, [pair.candidate.digest], served(pair), pair.home, dict(os.environ)
    ) as started:
        started[pair.candidate.digest].endpoint()
        assert len(COMMANDS) == 1
        assert started[pair.base.digest].endpoint().model == pair.base.digest
        assert len(COMMANDS) == 2
        assert started[pair.base.digest] is started[pair.base.digest]
        assert list(started.costs()) == [pair.candidate.digest, pair.base.digest]
    assert not any(pids_of(str(port)) for port in PORTS)


def test_they_stop_when_the_run_fails(pair):
    def fail() -> None:
        with engines(pair.store, both(pair), served(pair), pair.home, {}) as started:
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
        engines(pair.store, both(pair), served(pair), pair.home, {}) as started,
    ):
        started[pair.candidate.digest].endpoint()
    assert len(COMMANDS) <= 1


def test_one_that_is_refused_leaves_the_key_of_the_one_that_runs(pair):
    alias = f"evaluation:{pair.base.digest[7:19]}"
    key = serving.api_key_path(pair.home, alias)
    with serving.sole_engine(pair.home, alias):
        serving.make_api_key(pair.home, alias)
        with (
            pytest.raises(EndpointError, match="runs under"),
            engines(pair.store, both(pair)[:1], served(pair), pair.home, {}) as started,
        ):
            started[pair.base.digest].endpoint()
        assert key.exists()


def test_an_engine_that_never_gets_ready_is_named_with_its_log(pair, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "dies")
    monkeypatch.setattr(module, "START_SECONDS", 1.0)
    with (
        pytest.raises(EndpointError, match=r"engine-evaluation-.*\.log"),
        engines(pair.store, both(pair)[:1], served(pair), pair.home, dict(os.environ)) as started,
    ):
        started[pair.base.digest].endpoint()


@pytest.mark.parametrize("words", [(), ("--enable-prefix-caching",)])
def test_they_are_started_as_they_would_be_served(pair, words):
    serving = served(pair, dtype="float16", extra=("--max-num-seqs", "7", *words))
    with engines(pair.store, both(pair), serving, pair.home, dict(os.environ)) as started:
        started[pair.base.digest].endpoint()
    for command in COMMANDS:
        assert command[command.index("--dtype") + 1] == "float16"
        assert "--max-num-seqs=7" in command
        assert "--enable-prefix-caching" not in command
        assert "--no-enable-prefix-caching" in command


@pytest.mark.parametrize(
    ("has_gpu", "extra", "wanted"),
    [
        (False, (), []),
        (True, (), ["--gpu-memory-utilization=0.45"]),
        (True, ("--gpu-memory-utilization=0.3",), ["--gpu-memory-utilization=0.3"]),
    ],
)
def test_two_engines_share_a_gpus_memory(monkeypatch, has_gpu, extra, wanted):
    monkeypatch.setattr(module, "has_gpu", lambda: has_gpu)
    assert list(module._resources(extra)) == [*wanted, "--no-enable-prefix-caching"]


def test_a_model_of_several_kinds_of_input_names_its_window_with_its_text_part(tmp_path):
    config = tmp_path / "config.json"
    config.write_text('{"text_config": {"max_position_embeddings": 4096}}')
    assert module.context_window(tmp_path) == 4096
    config.write_text('{"text_config": null}')
    with pytest.raises(SuiteError, match="max_position_embeddings"):
        module.context_window(tmp_path)


def test_every_engine_has_processors_of_its_own():
    shares = module._shares(2, None)
    assert len(shares) == 2
    if len(os.sched_getaffinity(0)) >= 2:
        bound = [set(share["VLLM_CPU_OMP_THREADS_BIND"].split(",")) for share in shares]
        assert not bound[0] & bound[1]
    assert {share["VLLM_CPU_OMP_THREADS_BIND"] for share in module._shares(2, "nobind")} == {
        "nobind"
    }
