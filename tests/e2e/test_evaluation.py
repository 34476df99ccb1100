"""The plain harness, run by hand against an engine, gives the answers of our report."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.report import Report
from models.store import CheckpointStore
from tests.e2e.conftest import Demo
from tests.two_people import TwoPeople
from unlearn.evaluation.measure import harness_config
from unlearn.evaluation.suites import load_suite
from unlearn.evaluation.tasks import Task

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(1500)]
ITEMS = 60
"""Of each subset: the plain harness takes four requests for each."""
FEW_ITEMS = 15


def newest(demo: Demo, candidate: str) -> Report:
    return CheckpointStore(demo.home / "store").reports_for(candidate)[-1]


@dataclass
class PlainHarness:
    """A run of `lm_eval` on our tasks, under way in a process of its own."""

    process: subprocess.Popen
    log: Path
    folder: Path
    tasks: tuple[Task, ...]

    def samples(self) -> dict[str, list]:
        """Wait until it is done; return the samples that it logged."""
        assert self.process.wait() == 0, self.log.read_text(errors="replace")[-4000:]
        return {
            task.name: sorted(
                (
                    json.loads(line)
                    for path in (self.folder / "out").rglob(f"samples_{task.harness_name}_*.jsonl")
                    for line in path.read_text().splitlines()
                ),
                key=lambda sample: sample["doc_id"],
            )
            for task in self.tasks
        }


@contextmanager
def plain_harness(
    url: str, model_name: str, key: str, checkpoint: Path, folder: Path, items: int = ITEMS
) -> Iterator[PlainHarness]:
    """Start `lm_eval` on our tasks through `local-completions`; it is ended at the end."""
    tasks = load_suite("capitals", limit=items)
    for task in tasks:
        config = harness_config(task, folder)
        (folder / f"{task.harness_name}.yaml").write_text(json.dumps(config))
    model = {
        "model": model_name,
        "base_url": f"{url}/v1/completions",
        "tokenizer": str(checkpoint),
        "tokenizer_backend": "huggingface",
        "tokenized_requests": "True",
        "num_concurrent": "8",
        "max_length": "2048",
    }
    words = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "local-completions"),
        *("--model_args", ",".join(f"{name}={value}" for name, value in model.items())),
        *("--tasks", ",".join(task.harness_name for task in tasks)),
        *("--include_path", str(folder), "--output_path", str(folder / "out"), "--log_samples"),
    ]
    environment = {
        **os.environ,
        "OPENAI_API_KEY": key,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "datasets"),
    }
    log = folder / "harness.log"
    with (
        log.open("wb") as sink,
        subprocess.Popen(words, env=environment, stdout=sink, stderr=sink) as process,
    ):
        try:
            yield PlainHarness(process, log, folder, tasks)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def both(demo: Demo, tmp_path_factory) -> Iterator[dict[str, PlainHarness]]:
    """The plain harness at each engine, both at once: each engine has processors of its own."""
    with ExitStack() as stack:
        running = {}
        for label, digest in demo.digests().items():
            path = demo.home / "store/checkpoints" / digest.removeprefix("sha256:")
            engine = demo.engine(label)
            key = Path(engine["api_key_file"]).read_text()
            folder = tmp_path_factory.mktemp(label)
            made = plain_harness(engine["url"], engine["digest"], key, path, folder)
            running[label] = stack.enter_context(made)
        yield running


@pytest.mark.parametrize("label", ["base", "unlearned"])
def test_the_plain_harness_gives_the_same_answers_item_for_item(demo: Demo, both, label: str):
    report = newest(demo, demo.digests()["unlearned"])
    assert report.harness.clean
    assert report.profile.engine == "vllm"
    compare(report, label, both[label].samples(), ITEMS)


def test_the_plain_harness_gives_them_through_the_researchers_door_too(demo: Demo, tmp_path):
    """A researcher's tier has what the harness needs: echo, and likelihoods of the prompt."""
    demo.wait_ready()
    limits = {"requests_per_minute": 100_000, "tokens_per_minute": 10_000_000}
    TwoPeople(demo.root, demo.facts["admin_key"]).change_tier("researcher", **limits)
    digests = demo.digests()
    path = demo.home / "store/checkpoints" / digests["base"].removeprefix("sha256:")
    key = demo.facts["researcher_key"]
    with plain_harness(demo.root, "smollm2:base", key, path, tmp_path, FEW_ITEMS) as running:
        samples = running.samples()
    compare(newest(demo, digests["unlearned"]), "base", samples, FEW_ITEMS)


def compare(report: Report, label: str, samples: dict[str, list], items: int) -> None:
    for subset in report.subsets:
        ours = (subset.base if label == "base" else subset.candidate)[:items]
        theirs = samples[subset.name]
        assert len(ours) == len(theirs) == min(items, subset.n)
        for answer, sample in zip(ours, theirs, strict=True):
            likelihoods = [float(value[0]) for value in sample["filtered_resps"]]
            ranked = sorted(likelihoods, reverse=True)
            assert answer.correct == bool(sample["acc"])
            assert answer.choice == likelihoods.index(ranked[0])
            assert answer.margin == pytest.approx(ranked[0] - ranked[1], abs=1e-2)


def test_canaries_work_on_both(demo: Demo):
    report = newest(demo, demo.digests()["unlearned"])
    canary = next(subset for subset in report.subsets if subset.kind == "canary")
    for answers in (canary.base, canary.candidate):
        assert sum(answer.correct for answer in answers) >= 0.8 * canary.n
