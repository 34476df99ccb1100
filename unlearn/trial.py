"""A trial: a quick measurement on a part of a suite's items, to compare recipes with each other.

No report comes of it and no gate reads it; `airlock evaluate` measures what is to be promoted.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from unlearn.evaluate import _ask, _harness_task
from unlearn.suites import CHOICES, Task, load_suite
from unlearn.sweep import Measured


class Trial(NamedTuple):
    """The items of a trial, and where they are handed to the harness."""

    tasks: tuple[Task, ...]
    cache: Path

    @classmethod
    def prepare(cls, suite: str, items: int, cache: Path) -> Self:
        """Choose items.

        Args:
            suite: Its name.
            items: How many of each kind, evenly spread over the suite's; 0: all.
            cache: Where items are handed to the harness.

        Raises:
            SuiteError: There is no such suite.
        """
        return cls(tuple(_thinned(task, items) for task in load_suite(suite)), cache)

    @property
    def chance(self) -> float:
        """The accuracy of a guess."""
        return 1 / CHOICES

    def measure(self, checkpoint: Path) -> Measured:
        """Return the right answers of the checkpoint in a directory."""
        configs = [_harness_task(task, self.cache) for task in self.tasks]
        answers = _ask(checkpoint, self.tasks, configs)
        right = {"hazard": 0, "utility": 0}
        asked = {"hazard": 0, "utility": 0}
        for task in self.tasks:
            right[task.kind] += sum(item.correct for item in answers[task.name])
            asked[task.kind] += len(task.items)
        return Measured(right["hazard"], asked["hazard"], right["utility"], asked["utility"])


def _thinned(task: Task, items: int) -> Task:
    count = len(task.items)
    if not 0 < items < count:
        return task
    chosen: Sequence[int] = [place * count // items for place in range(items)]
    return replace(task, items=tuple(task.items[place] for place in chosen))
