"""Measures a candidate and its base in one run of lm-evaluation-harness, item by item.

Both checkpoints take the same path, so that the base is a positive control of it.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import lm_eval.evaluator
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer

from models.documents import Digest, write_bytes
from models.report import AttackResult, ChatQuality, ItemResult, Report, Subset
from models.signing import seal
from models.store import CheckpointStore
from unlearn.errors import SuiteError
from unlearn.evaluation.answers import Answers, answers_path
from unlearn.evaluation.harness import SEED, describe, harness_version
from unlearn.evaluation.items import CHOICES, write_items
from unlearn.evaluation.runs import Lane, OnProgress, Run
from unlearn.evaluation.scoring import RecordingLM
from unlearn.evaluation.tasks import Task
from unlearn.offline import quiet_libraries

Plain = Mapping[str, tuple[ItemResult, ...]]
"""A checkpoint's answers, by task."""
Attackers = Callable[[Mapping[Digest, Plain]], tuple[AttackResult, ...]]


class Sample(TypedDict):
    """What is used of an item as the harness logs it."""

    doc_id: int
    filtered_resps: list[tuple[float, bool]]


def evaluate(
    store: CheckpointStore,
    run: Run,
    lane: Lane,
    cache: Path,
    on_progress: OnProgress,
    *,
    plan: Digest | None = None,
    keys: Sequence[Ed25519PrivateKey] = (),
    chat: Callable[[], ChatQuality] | None = None,
    attack: Attackers | None = None,
) -> Report:
    """Return the report on a candidate, and store it, signed; of a limited run beside the store.

    Args:
        store: Where the checkpoints are and the report goes; both are hashed first.
        run: What is measured.
        lane: How.
        cache: Where items are handed to the harness, and answers kept.
        on_progress: Told of every likelihood.
        plan: The announced plan that this run carries out.
        keys: The evaluator's; without one the report is unsigned.
        chat: Measures chat quality beside.
        attack: Attacks both checkpoints, whose answers without an attack it is given.

    Raises:
        CheckpointCorruptError: A checkpoint's bytes have changed.
        SuiteError: The harness did not answer every item.
        EndpointError: An engine does not answer; what it answered so far is kept.
    """
    started_at = datetime.now(UTC)
    for digest in run.checkpoints:
        store.verify(digest)
    harness = threading.RLock()
    stopping = threading.Event()

    def tell(digest: Digest, known: int) -> None:
        if stopping.is_set():
            raise CancelledError
        on_progress(digest, known)

    def ask(digest: Digest) -> dict[str, tuple[ItemResult, ...]]:
        lm = RecordingLM(
            AutoTokenizer.from_pretrained(store.path(digest)),
            lane.scorers[digest],
            Answers(answers_path(cache, digest, run.profile, harness_version())),
            lane.max_length,
            lambda known: tell(digest, known),
            harness,
        )
        with harness:
            return put_tasks(lm, run.tasks, cache)

    with ThreadPoolExecutor(lane.at_once) as pool:
        try:
            base, candidate = pool.map(ask, run.checkpoints)
        except BaseException:
            # Ctrl-C, or the other checkpoint's failure: the pool waits for what still runs.
            stopping.set()
            raise
    report = Report(
        family=run.family,
        base=run.base,
        candidate=run.candidate,
        plan=plan,
        suite=run.suite,
        harness=describe(),
        profile=run.profile,
        subsets=tuple(_subset(task, base[task.name], candidate[task.name]) for task in run.tasks),
        attacks=attack({run.base: base, run.candidate: candidate}) if attack else (),
        chat=chat() if chat else None,
        started_at=started_at,
        ended_at=datetime.now(UTC),
    )
    if run.is_limited:
        path = run.report_path(store, cache, report.document_digest)
        write_bytes(path, seal(report, []))
    else:
        store.put_report(report, keys)
    return report


def _subset(task: Task, base: tuple[ItemResult, ...], candidate: tuple[ItemResult, ...]) -> Subset:
    return Subset(
        name=task.name,
        kind=task.kind,
        domain=task.domain,
        variant=task.variant,
        variant_of=task.variant_of,
        chance=task.chance,
        dataset=task.dataset,
        prompt=task.prompt,
        base=base,
        candidate=candidate,
    )


def put_tasks(
    lm: RecordingLM, tasks: Sequence[Task], cache: Path
) -> dict[str, tuple[ItemResult, ...]]:
    """Let the harness put every task to a model, those through the chat template by themselves.

    Args:
        lm: The model.
        tasks: What is asked.
        cache: Where items are handed to the harness.

    Raises:
        SuiteError: The harness did not answer every item.
    """
    quiet_libraries()
    # The harness shows a bar for each task, which no option turns off; ours shows them all.
    lm_eval.api.task.tqdm = lambda rows, **_: rows
    # It asks git which commit the current directory is at, and git complains where that is none.
    lm_eval.evaluator.get_git_commit_hash = lambda: None
    found: dict[str, tuple[ItemResult, ...]] = {}
    for is_chat in (False, True):
        group = [task for task in tasks if task.is_chat == is_chat]
        if not group:
            continue
        results = lm_eval.simple_evaluate(
            model=lm,
            tasks=[harness_config(task, cache) for task in group],
            # The harness's own tasks are not looked up: reading their index takes seconds.
            task_manager=TaskManager(include_defaults=False),
            apply_chat_template=is_chat,
            log_samples=True,
            bootstrap_iters=0,
            random_seed=SEED,
            numpy_random_seed=SEED,
            torch_random_seed=SEED,
            fewshot_random_seed=SEED,
        )
        for task in group:
            found[task.name] = results_of(task, results["samples"][task.harness_name])
    return found


def harness_config(task: Task, cache: Path) -> dict[str, object]:
    """Return a task's definition for the harness, with its items in files under `cache`."""
    files = {"test": task.items}
    if task.examples:
        files["dev"] = task.examples
    folder = cache / "suites" / f"{task.name}-{task.prompt_digest[7:19]}"
    for split, items in files.items():
        write_items(items, folder / f"{split}.jsonl")
    return {
        **task.definition,
        "task": task.harness_name,
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {split: str((folder / f"{split}.jsonl").resolve()) for split in files}
        },
        "test_split": "test",
        **({"fewshot_split": task.examples_split} if task.examples_split else {}),
    }


def results_of(task: Task, samples: Sequence[Sample]) -> tuple[ItemResult, ...]:
    """Return the harness's answers in the order of the items.

    Raises:
        SuiteError: An item is missing, twice there, or has not four likelihoods.
    """
    by_index = {sample["doc_id"]: sample for sample in samples}
    if sorted(by_index) != list(range(len(task.items))) or len(samples) != len(task.items):
        raise SuiteError(task.name, "the harness did not answer every item once")
    return tuple(_result(task, index, name, by_index[index]) for index, name in enumerate(task.ids))


def _result(task: Task, index: int, name: str, sample: Sample) -> ItemResult:
    likelihoods = [float(answer[0]) for answer in sample["filtered_resps"]]
    if len(likelihoods) != CHOICES:
        raise SuiteError(task.name, f"item {index} has {len(likelihoods)} likelihoods")
    if not all(math.isfinite(value) for value in likelihoods):
        return ItemResult(id=name, correct=False, choice=None, margin=None)
    item = task.items[index]
    if task.metric == "acc_norm":
        # As the harness does: by the characters of the choice, without the space before it.
        lengths = [len(choice) for choice in item["choices"]]
        likelihoods = [one / length for one, length in zip(likelihoods, lengths, strict=True)]
    # Sorting is stable, so that of equal ones the first wins, as in the harness's argmax.
    ranked = sorted(range(CHOICES), key=lambda choice: -likelihoods[choice])
    return ItemResult(
        id=name,
        correct=ranked[0] == item["answer"],
        choice=ranked[0],
        margin=likelihoods[ranked[0]] - likelihoods[ranked[1]],
    )
