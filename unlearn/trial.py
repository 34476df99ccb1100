"""A trial: a quick measurement on a part of a suite's items, to compare recipes with each other.

No report comes of it and no gate reads it; `airlock evaluate` measures what is to be promoted.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from unlearn.evaluation.items import CHOICES
from unlearn.evaluation.suites import load_suite
from unlearn.evaluation.tasks import Task
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
        # Canaries tell a broken path from an unlearned one, which a comparison does not ask.
        tasks = [task for task in load_suite(suite, cache) if task.kind != "canary"]
        return cls(tuple(_thinned(task, items) for task in tasks), cache)

    @property
    def chance(self) -> float:
        """The accuracy of a guess."""
        return 1 / CHOICES

    def measure(
        self, checkpoint: Path, on_items: Callable[[int, int], None] = lambda known, of: None
    ) -> Measured:
        """Return the right answers of the checkpoint in a directory.

        Args:
            checkpoint: Need not be in a store.
            on_items: Told how many items are answered, of how many.
        """
        # Imported here, since it takes seconds and a dry run needs none of it.
        from unlearn.evaluation.inprocess import answers_of

        total = sum(len(task.items) for task in self.tasks)
        answers = answers_of(
            checkpoint, self.tasks, self.cache, lambda known: on_items(known // CHOICES, total)
        )
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
