"""Scores in this process, as the harness's own Hugging Face model does: the reference.

The figures are that model's. It takes logits of every token of a prompt, though; this takes those
that are asked for.
"""

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from models.engine import native_dtype
from models.report import ItemResult
from unlearn.errors import SuiteError
from unlearn.evaluation.answers import Answers, Continuation, Scored, Scorer
from unlearn.evaluation.engines import context_window
from unlearn.evaluation.measure import put_tasks
from unlearn.evaluation.scoring import RecordingLM
from unlearn.evaluation.tasks import Task
from unlearn.offline import quiet_libraries

BATCH_SIZE = 64
"""Rows of one pass, at most."""
TOKENS_TOGETHER = 16384
"""Tokens of one pass, padding included: 64 rows of 256, or 5 of 3,000."""
ASKED_TOGETHER = 512
"""Tokens whose logits one pass takes: 300 MB of 150,000 words in fp32, and as much again."""


def load(checkpoint: Path) -> PreTrainedModel:
    """Return a checkpoint's weights where they are computed with, in this machine's own type."""
    quiet_libraries()
    dtype = getattr(torch, native_dtype())
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
    return cast(PreTrainedModel, model.to("cuda" if torch.cuda.is_available() else "cpu").eval())


def in_process(checkpoint: Path) -> Scorer:
    """Load a checkpoint and return what scores by it."""
    return score_with(load(checkpoint))


class Row(NamedTuple):
    """What is read in one pass, and what is asked of it: choices that are one token share a row."""

    tokens: tuple[int, ...]
    """Up to the last token that is scored, which no token of its own predicts."""
    asked: tuple[Continuation, ...]

    @property
    def positions(self) -> int:
        """From how many of its last tokens logits are needed."""
        return max(len(one.tokens) for one in self.asked)


def score_with(weights: PreTrainedModel) -> Scorer:
    """Return what scores by weights that may no longer be those of any checkpoint."""

    def score(wanted: Sequence[Continuation]) -> Iterator[Scored]:
        for rows in _together(_rows(wanted)):
            yield _likelihoods(weights, rows)

    return score


def _rows(wanted: Sequence[Continuation]) -> list[Row]:
    """Return what is to be read, longest first: memory runs out at once or not at all."""
    asked: dict[tuple[int, ...], list[Continuation]] = {}
    for one in wanted:
        asked.setdefault((*one.context, *one.tokens[:-1]), []).append(one)
    rows = [Row(tokens, tuple(of_it)) for tokens, of_it in asked.items()]
    return sorted(rows, key=lambda row: (-len(row.tokens), row.tokens))


def _together(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield rows in batches that fit into memory; a row that does not is a batch of its own."""
    batch: list[Row] = []
    for row in rows:
        grown = [*batch, row]
        if batch and (
            len(grown) > BATCH_SIZE
            or len(grown) * len(grown[0].tokens) > TOKENS_TOGETHER
            or sum(one.positions for one in grown) > ASKED_TOGETHER
        ):
            yield batch
            grown = [row]
        batch = grown
    if batch:
        yield batch


@torch.no_grad()
def _likelihoods(model: PreTrainedModel, rows: Sequence[Row]) -> Scored:
    width = len(rows[0].tokens)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)  # Causal: what pads is not seen.
    places = []
    for number, row in enumerate(rows):
        tokens[number, : len(row.tokens)] = torch.tensor(row.tokens)
        end = len(row.tokens)
        places += [(number, place) for place in range(end - row.positions, end)]
    # In the logits' own type, as the harness does it.
    said = asked_logits(model, tokens, torch.tensor(places)).log_softmax(-1)  # (N, V)
    found: Scored = []
    end = 0
    for row in rows:
        end += row.positions
        for one in row.asked:
            chosen = torch.tensor(one.tokens, device=said.device).unsqueeze(-1)
            value = float(said[end - len(one.tokens) : end].gather(-1, chosen).sum())
            found.append((one, _finite(value)))
    return found


def asked_logits(model: PreTrainedModel, tokens: Tensor, places: Tensor) -> Tensor:
    """Return a model's logits at some places: its head sees no other.

    For every token they would be gigabytes: 64 prompts of 1,000 tokens and 150,000 words of a
    vocabulary are 38 GB in fp32. The model itself calls its head, so that whatever it does to
    logits is done.

    Args:
        model: Any causal one.
        tokens: (B, T), padded on the right.
        places: (N, 2), row and column of each.

    Returns:
        (N, V), in the model's type.

    Raises:
        SuiteError: The model does not get its logits from its output embeddings.
    """

    def only_asked(_: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
        rows, columns = places.to(given[0].device).unbind(-1)
        return given[0][rows, columns].unsqueeze(0)  # (1, N, D)

    hook = model.get_output_embeddings().register_forward_pre_hook(only_asked)
    try:
        logits: Tensor = model(tokens.to(model.device), use_cache=False).logits
    finally:
        hook.remove()
    if logits.shape[:2] != (1, len(places)):
        raise SuiteError("engine", f"{type(model).__name__} has a head of its own")
    return logits[0]


def answers_of(
    checkpoint: Path,
    tasks: Sequence[Task],
    cache: Path,
    on_progress: Callable[[int], None] = lambda known: None,
) -> dict[str, tuple[ItemResult, ...]]:
    """Return the answers of the checkpoint in a directory, by task; nothing is kept.

    Args:
        checkpoint: Need not be in a store.
        tasks: What is asked.
        cache: Where items are handed to the harness.
        on_progress: Told how many continuations are known so far.

    Raises:
        SuiteError: The harness did not answer every item.
    """
    return answers_by(partial(in_process, checkpoint), checkpoint, tasks, cache, on_progress)


def answers_by(
    scorer: Callable[[], Scorer],
    checkpoint: Path,
    tasks: Sequence[Task],
    cache: Path,
    on_progress: Callable[[int], None] = lambda known: None,
) -> dict[str, tuple[ItemResult, ...]]:
    """Return the answers of whatever scores, by task; nothing is kept.

    Args:
        scorer: Makes it.
        checkpoint: For its tokenizer and context window.
        tasks: What is asked.
        cache: Where items are handed to the harness.
        on_progress: Told how many continuations are known so far.

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
            on_progress,
            harness,
        )
        return put_tasks(lm, tasks, cache)


def _finite(value: float) -> float | None:
    return float(value) if abs(value) < float("inf") else None
