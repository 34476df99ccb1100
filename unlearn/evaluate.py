"""Measures a candidate and its base in one run of lm-evaluation-harness, item by item.

The weights run in this process, in the type that they are served in. Both checkpoints take the same
path, so that the base is a positive control of it.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.documents import Digest, canonical_json, digest_of
from models.engine import native_dtype
from models.report import Dataset, Harness, ItemResult, Prompt, Report, Subset
from models.store import CheckpointStore
from unlearn.currency import HARNESS, current_profile, harness_version
from unlearn.errors import SuiteError
from unlearn.offline import quiet_libraries
from unlearn.suites import CHOICES, Item, Task, write_items

SCORING = "multiple_choice, acc: the choice with the highest log-likelihood"
BATCH_SIZE = 64
Sample = dict[str, Any]
"""One item as the harness logs it."""
SEED = 1234


def evaluate(
    store: CheckpointStore,
    base: Digest,
    candidate: Digest,
    tasks: Sequence[Task],
    cache: Path,
    on_progress: Callable[[str], None],
) -> Report:
    """Return the report on a candidate, and store it.

    Args:
        store: Where the checkpoints are and the report goes; both are hashed first.
        base: The candidate's base.
        candidate: What is measured.
        tasks: What is asked.
        cache: Where items are handed to the harness.
        on_progress: Told which checkpoint is measured.

    Raises:
        CheckpointCorruptError: A checkpoint's bytes have changed.
        SuiteError: The harness did not answer every item.
    """
    started_at = datetime.now(UTC)
    family = store.verify(candidate).family
    store.verify(base)
    configs = [_harness_task(task, cache) for task in tasks]
    answers = {}
    for who, digest in (("base", base), ("candidate", candidate)):
        on_progress(f"{who} {digest[7:19]}")
        answers[who] = _ask(store.path(digest), tasks, configs)
    report = Report(
        family=family,
        base=base,
        candidate=candidate,
        harness=Harness(
            name=HARNESS,
            version=harness_version(),
            digest=digest_of({}),
            clean=True,
            seed=SEED,
        ),
        plan=None,
        suite="capitals",
        profile=current_profile(),
        subsets=tuple(
            Subset(
                name=task.name,
                kind=task.kind,
                domain=task.domain,
                chance=1 / CHOICES,
                dataset=Dataset(
                    name=f"builtin:{task.name}",
                    revision=None,
                    digest=task.dataset_digest,
                    n=len(task.items),
                ),
                prompt=Prompt(digest=digest_of(_portable(config)), few_shot=0, rule=SCORING),
                base=answers["base"][task.name],
                candidate=answers["candidate"][task.name],
            )
            for task, config in zip(tasks, configs, strict=True)
        ),
        started_at=started_at,
        ended_at=datetime.now(UTC),
    )
    store.put_report(report)
    return report


def item_id(item: Item) -> str:
    """Return the name under which a report lists an item."""
    return hashlib.sha256(canonical_json(item)).hexdigest()


def _harness_task(task: Task, cache: Path) -> dict[str, object]:
    """Return a task's definition for the harness."""
    return {
        "task": f"airlock_{task.name}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(write_items(task, cache).resolve())}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": task.prompt,
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1},
    }


def _portable(config: dict[str, object]) -> dict[str, object]:
    """Return a definition without the paths of this machine."""
    return {key: value for key, value in config.items() if key != "dataset_kwargs"}


def _ask(
    checkpoint: Path, tasks: Sequence[Task], configs: list[dict[str, object]]
) -> dict[str, tuple[ItemResult, ...]]:
    quiet_libraries()
    model = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=getattr(torch, native_dtype())
        ),
        tokenizer=AutoTokenizer.from_pretrained(checkpoint),
        batch_size=BATCH_SIZE,
        device="cpu",
    )
    results = lm_eval.simple_evaluate(
        model=model,
        tasks=configs,
        num_fewshot=0,
        log_samples=True,
        bootstrap_iters=0,
        random_seed=SEED,
        numpy_random_seed=SEED,
        torch_random_seed=SEED,
    )
    return {task.name: _results(task, results["samples"][f"airlock_{task.name}"]) for task in tasks}


def _results(task: Task, samples: list[Sample]) -> tuple[ItemResult, ...]:
    """Return the harness's answers in the order of the items.

    Raises:
        SuiteError: An item is missing, or its likelihoods are not four numbers.
    """
    by_index = {sample["doc_id"]: sample for sample in samples}
    if sorted(by_index) != list(range(len(task.items))) or len(samples) != len(task.items):
        raise SuiteError(task.name, "the harness did not answer every item once")
    found = []
    for index, item in enumerate(task.items):
        sample = by_index[index]
        likelihoods = [float(answer[0]) for answer in sample["filtered_resps"]]
        if len(likelihoods) != CHOICES:
            raise SuiteError(task.name, f"item {index} has {len(likelihoods)} likelihoods")
        ranked = sorted(range(CHOICES), key=lambda choice: -likelihoods[choice])
        found.append(
            ItemResult(
                id=item_id(item),
                correct=bool(sample["acc"]),
                choice=ranked[0],
                margin=likelihoods[ranked[0]] - likelihoods[ranked[1]],
            )
        )
    return tuple(found)
