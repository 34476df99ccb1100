"""Subject: a checkpoint under attack.

Owns loading it and scoring what an attack made of it, through the harness as any evaluation does.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic import JsonValue
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel

from models.report import ItemResult
from unlearn.batches import Tokenizer
from unlearn.errors import SuiteError, UnsupportedModelError
from unlearn.evaluation.answers import Answers, Continuation
from unlearn.evaluation.inprocess import answers_by, load, score_with
from unlearn.evaluation.items import CHOICES
from unlearn.evaluation.measure import put_tasks
from unlearn.evaluation.scoring import RecordingLM, Request
from unlearn.evaluation.tasks import Task


@dataclass(frozen=True)
class Outcome:
    """What an attack brought back of one checkpoint."""

    before: int
    """Right answers of `n` without the attack."""
    after: int
    n: int
    layers: tuple[int, ...] = ()
    """Right answers by layer, where the attack reads layers."""
    found: dict[str, JsonValue] = field(default_factory=dict)
    """What the attack came upon by itself."""


class Prompt(NamedTuple):
    """What stands before an item's choices."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Subject:
    """A checkpoint under attack."""

    path: Path
    base: Path
    candidate: Path
    cache: Path
    """Where items are handed to the harness."""
    plain: tuple[ItemResult, ...]
    """Its answers to the domain's items without any attack."""

    def load(self) -> PreTrainedModel:
        """Return its weights, as they are scored."""
        return load(self.path)

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return cast(Tokenizer, AutoTokenizer.from_pretrained(self.path))

    def right(self, items: Sequence[int] | None = None) -> int:
        """Return its right answers without any attack, of some items or of all."""
        chosen = self.plain if items is None else [self.plain[item] for item in items]
        return sum(item.correct for item in chosen)

    def score(self, model: PreTrainedModel, task: Task) -> int:
        """Return how many of a task's items a changed model answers correctly."""
        model.eval()
        found = answers_by(lambda: score_with(model), self.path, (task,), self.cache)
        return sum(item.correct for item in found[task.name])

    def asked(self, task: Task) -> list[tuple[Continuation, ...]]:
        """Return what the harness asks for each item: its choices after its prompt, as tokens.

        Raises:
            SuiteError: The harness does not ask four continuations an item.
        """
        heard = [Continuation(tuple(before), tuple(after)) for _, before, after in self._hear(task)]
        rows = range(0, len(heard), CHOICES)
        return [tuple(heard[start : start + CHOICES]) for start in rows]

    def prompts(self, task: Task) -> list[Prompt]:
        """Return what stands before each item's choices, as text and as the harness's tokens.

        Raises:
            SuiteError: The harness does not ask four continuations an item.
        """
        # Blanks that a prompt ends with go to the choices, as the harness encodes them.
        return [
            Prompt(text.rstrip(), tuple(tokens))
            for (text, _), tokens, _ in self._hear(task)[::CHOICES]
        ]

    def _hear(self, task: Task) -> list[Request]:
        listener = _Listener(self.path)
        with listener.lock:
            put_tasks(listener, (task,), self.cache)
        if len(listener.heard) != CHOICES * len(task.items):
            raise SuiteError(task.name, "the harness did not ask every item once")
        return listener.heard


class _Listener(RecordingLM):
    """Hears what the harness asks, and answers nothing."""

    def __init__(self, path: Path) -> None:
        self.heard: list[Request] = []
        self.lock = threading.RLock()
        tokenizer = AutoTokenizer.from_pretrained(path)
        nowhere = Answers(path / "no answers")
        super().__init__(tokenizer, _nobody, nowhere, 0, lambda known: None, self.lock)

    def _loglikelihood_tokens(
        self, requests: list[Request], **_: object
    ) -> list[tuple[float, bool]]:
        self.heard += requests
        return [(float("nan"), False)] * len(requests)


def _nobody() -> Any:
    raise NotImplementedError


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """Return a model's layers.

    Raises:
        UnsupportedModelError: Its architecture keeps them elsewhere.
    """
    layers = getattr(model.base_model, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise UnsupportedModelError(type(model).__name__)
    return layers


def output_of(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return the hidden states (B, T, D) of what a layer returned."""
    return result[0] if isinstance(result, tuple) else result


def part_of(task: Task, items: Sequence[int]) -> Task:
    """Return a task with some of its items."""
    return replace(task, items=tuple(task.items[item] for item in items))


def figure(value: float) -> float | None:
    """Return a number as a report can hold it: rounded, and None when it is none."""
    return round(value, 4) if math.isfinite(value) else None
