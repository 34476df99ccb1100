"""Scores in this process, by the harness's own Hugging Face model: the reference."""

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from models.engine import native_dtype
from models.report import ItemResult
from unlearn.evaluation.answers import Answers, Continuation, Scored, Scorer
from unlearn.evaluation.engines import context_window
from unlearn.evaluation.measure import put_tasks
from unlearn.evaluation.scoring import RecordingLM
from unlearn.evaluation.tasks import Task
from unlearn.offline import quiet_libraries

BATCH_SIZE = 64
KEPT_TOGETHER = 512
"""Continuations between two writes of the answers."""


def load(checkpoint: Path) -> PreTrainedModel:
    """Return a checkpoint's weights where they are computed with, in this machine's own type."""
    quiet_libraries()
    dtype = getattr(torch, native_dtype())
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
    return cast(PreTrainedModel, model.to("cuda" if torch.cuda.is_available() else "cpu").eval())


def in_process(checkpoint: Path) -> Scorer:
    """Load a checkpoint and return what scores by it."""
    return score_with(load(checkpoint), checkpoint)


def score_with(weights: PreTrainedModel, checkpoint: Path) -> Scorer:
    """Return what scores by weights that may no longer be those of the checkpoint.

    Args:
        weights: Loaded.
        checkpoint: For its tokenizer.
    """
    model = HFLM(
        pretrained=weights,
        tokenizer=AutoTokenizer.from_pretrained(checkpoint),
        batch_size=BATCH_SIZE,
        device=str(weights.device),
    )

    def score(wanted: Sequence[Continuation]) -> Iterator[Scored]:
        # Longest first, as the harness does, so that memory runs out at once or not at all; what
        # shares a context stays together, since the harness computes that once.
        ordered = sorted(wanted, key=lambda one: (-len(one.context), one.context))
        for start in range(0, len(ordered), KEPT_TOGETHER):
            part = ordered[start : start + KEPT_TOGETHER]
            requests = [(("", ""), list(one.context), list(one.tokens)) for one in part]
            found = model._loglikelihood_tokens(requests, disable_tqdm=True)
            yield [(one, _finite(value)) for one, (value, _) in zip(part, found, strict=True)]

    return score


def answers_of(
    checkpoint: Path, tasks: Sequence[Task], cache: Path
) -> dict[str, tuple[ItemResult, ...]]:
    """Return the answers of the checkpoint in a directory, by task; nothing is kept.

    Args:
        checkpoint: Need not be in a store.
        tasks: What is asked.
        cache: Where items are handed to the harness.

    Raises:
        SuiteError: The harness did not answer every item.
    """
    return answers_by(partial(in_process, checkpoint), checkpoint, tasks, cache)


def answers_by(
    scorer: Callable[[], Scorer], checkpoint: Path, tasks: Sequence[Task], cache: Path
) -> dict[str, tuple[ItemResult, ...]]:
    """Return the answers of whatever scores, by task; nothing is kept.

    Args:
        scorer: Makes it.
        checkpoint: For its tokenizer and context window.
        tasks: What is asked.
        cache: Where items are handed to the harness.

    Raises:
        SuiteError: The harness did not answer every item.
    """
    harness = threading.RLock()
    with tempfile.TemporaryDirectory() as folder, harness:
        lm = RecordingLM(
            AutoTokenizer.from_pretrained(checkpoint),
            scorer,
            Answers(Path(folder) / "answers.jsonl"),
            context_window(checkpoint),
            lambda known: None,
            harness,
        )
        return put_tasks(lm, tasks, cache)


def _finite(value: float) -> float | None:
    return float(value) if abs(value) < float("inf") else None
