"""Runs that are killed and go on, states that cannot be saved, runs in several processes."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.scratch import scratch
from unlearn import processes, resume
from unlearn.errors import DiskFullError, ProcessLostError
from unlearn.job import Job, write_job
from unlearn.plan import make_plan
from unlearn.processes import lead
from unlearn.train import StepLog, fit, run

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def one_thread():
    """What other processes compute is compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_digest(store, base, cut, tmp_path):
    config = replace(cut, steps=6, rank=2)
    state = tmp_path / "runs" / "1"
    (tmp_path / "config.json").write_text(json.dumps(config.as_json()))
    words = [str(tmp_path / "config.json"), base.digest, str(store.root), str(state)]
    moments = ["1", "3", "save-5"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.unlearn.killed_run", *words, *moments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    # A step is saved after it has been told of, so the one at which a run is killed is done again.
    assert [line for line in lines if not line.startswith("made")] == [
        *("from 1", "ended -9"),
        *("from 1", "ended -9"),
        *("from 3", "ended -9"),
        *("from 5", "ended 0"),
    ]
    assert not list(state.parent.iterdir()), "the state is gone when the candidate is stored"
    plan = make_plan(config, base.digest, store, tmp_path)
    unbroken = run(plan, store, tmp_path / "runs" / "2", lambda _: None)
    assert f"made {unbroken.digest}" in lines


def fitted(store, base, config, state, *, fail_at=None, save_every=1):
    steps = []

    def on_step(log: StepLog) -> None:
        if log.step == fail_at:
            raise KeyboardInterrupt
        steps.append(log.step)

    plan = make_plan(config, base.digest, store, state)
    words = {"base": base.digest, "state": state, "save_every": save_every}
    return fit(config, store.path(base.digest), plan.corpora, on_step, **words), steps


def test_the_state_of_another_run_or_a_damaged_one_is_not_taken(store, base, cut, tmp_path):
    state = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fitted(store, base, cut, state, fail_at=3)
    saved = (state / resume.STATE).read_bytes()
    _, steps = fitted(store, base, replace(cut, seed=5), state)
    assert steps == [1, 2, 3, 4]
    (state / resume.STATE).write_bytes(saved)
    _, steps = fitted(store, base, cut, state)
    assert steps == [3, 4]
    (state / resume.STATE).write_bytes(saved[:-10])
    _, steps = fitted(store, base, cut, state)
    assert steps == [1, 2, 3, 4]


def test_saving_costs_a_small_share_of_the_time(store, base, cut, tmp_path, monkeypatch):
    clock = [0.0]
    saves = []
    monkeypatch.setattr(resume.time, "monotonic", lambda: clock[0])
    save = resume.Progress.save

    def slow_save(self, step):
        save(self, step)
        self._seconds = 1.0
        saves.append(step)

    monkeypatch.setattr(resume.Progress, "save", slow_save)
    state = tmp_path / "run"
    plan = make_plan(replace(cut, steps=30), base.digest, store, state)

    def on_step(log: StepLog) -> None:
        clock[0] += 10.0

    words = {"base": base.digest, "state": state}
    fit(plan.config, store.path(base.digest), plan.corpora, on_step, **words)
    # The first one is cheap to guess; then one second may be spent in each fifty.
    assert saves == [1, 6, 11, 16, 21, 26]


@pytest.mark.parametrize("as_words", [False, True])
def test_a_full_disk_ends_the_run_and_keeps_what_was_saved(
    store, base, cut, tmp_path, monkeypatch, as_words
):
    state = tmp_path / "run"
    save_file = resume.save_file

    def full(tensors, path, metadata):
        if metadata["step"] == "3":
            path.write_bytes(b"half")
            if as_words:
                raise resume.SafetensorError("I/O error: No space left on device (os error 28)")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path, metadata=metadata)

    monkeypatch.setattr(resume, "save_file", full)
    with pytest.raises(DiskFullError, match="no room left"):
        fitted(store, base, cut, state)
    assert [file.name for file in state.iterdir()] == [resume.STATE]
    monkeypatch.undo()
    torch.set_num_threads(1)
    _, steps = fitted(store, base, cut, state)
    assert steps == [3, 4]


def test_what_a_live_process_saves_is_not_swept(store, base, cut, tmp_path):
    state = tmp_path / "run"
    # A process of another container has an id that nobody has here, or that somebody else has.
    with scratch(state, resume.SCRATCH) as live:
        fitted(store, base, cut, state)
        resume.Progress.discard(state)
        assert live.exists()
    dead = state / f"{resume.SCRATCH}1"
    dead.mkdir()
    fitted(store, base, cut, state)
    assert not dead.exists()


def test_two_processes_compute_what_one_does(store, base, cut, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config = replace(cut, method="adaptive-rmu", steps=3)
    path = store.path(base.digest)
    corpora = make_plan(config, base.digest, store, tmp_path).corpora
    results = {}
    for size in (1, 2):
        logs: list[StepLog] = []
        state = tmp_path / f"run-{size}"
        job = Job(config, path, corpora, base.digest, None, state)
        with lead(size, write_job(job)) as group:
            assert group.size == size
            words = {"base": base.digest, "group": group, "state": state}
            results[size] = fit(config, path, corpora, logs.append, **words), logs
    (one, one_logs), (two, two_logs) = results[1], results[2]
    for log, other in zip(one_logs, two_logs, strict=True):
        assert log[2:] == pytest.approx(other[2:], rel=1e-4, abs=1e-9)
    assert one.order_digest == two.order_digest
    for name, tensor in one.updated.items():
        # Adam's first steps are as long for a gradient of 1e-9 as for one of 1: signs may differ.
        close = torch.isclose(tensor, two.updated[name], atol=1e-5)
        assert close.float().mean() > 0.99


def test_a_process_that_ends_ends_the_run(store, base, cut, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    started = []
    popen = subprocess.Popen

    def start(words, **options):
        started.append(popen(words, **options))
        return started[-1]

    plan = make_plan(replace(cut, steps=1000), base.digest, store, tmp_path)
    monkeypatch.setattr(processes.subprocess, "Popen", start)

    def on_step(log: StepLog) -> None:
        if log.step == 2:
            started[0].kill()
            started[0].wait()

    with pytest.raises(ProcessLostError):
        run(plan, store, tmp_path / "run", on_step, processes=2)
    assert [manifest.digest for manifest in store.manifests()] == [base.digest]
