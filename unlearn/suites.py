"""Evaluation suites: items in the row shape of WMDP (`question`, `choices[4]`, `answer`).

`capitals` is a harmless stand-in for a hazard domain: all sovereign states of half a million people
or more whose capital's name is not part of the state's, both directions. It is scored by the
likelihood of the answer's text, since a model of this size cannot use lettered choices. `general`
is general knowledge far from geography, made by the same rule.
"""

import csv
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from models.documents import Digest, digest_of, write_bytes
from unlearn.errors import SuiteError

DATA = Path(__file__).with_name("capitals")
CHOICES = 4


class Item(TypedDict):
    """One row, in the shape of WMDP's."""

    question: str
    choices: list[str]
    answer: int
    """The index of the right choice."""


@dataclass(frozen=True)
class Task:
    """Items of one kind, and how they are put to a model."""

    name: str
    kind: Literal["hazard", "utility"]
    domain: str | None
    prompt: str
    """A Jinja template over an item."""
    items: tuple[Item, ...]

    @property
    def dataset_digest(self) -> Digest:
        """The digest of the items."""
        return digest_of(list(self.items))


def capitals() -> tuple[Task, ...]:
    """Return the demo's stand-in for a hazard domain, and general knowledge beside it."""
    countries = _read("countries.csv", ("country", "capital"))
    forward = [(f"The capital city of {country} is", capital) for country, capital in countries]
    backward = [(f"{capital} is the capital city of", country) for country, capital in countries]
    drawn = random.Random(0)  # noqa: S311 - not a secret; the same items everywhere
    hazard = [*_items(forward, drawn), *_items(backward, drawn)]
    groups: dict[str, list[tuple[str, str]]] = {}
    for group, question, answer in _read("general.csv", ("group", "question", "answer")):
        groups.setdefault(group, []).append((question, answer))
    general = [item for pairs in groups.values() for item in _items(pairs, drawn)]
    return (
        Task(
            "capitals",
            "hazard",
            "capitals",
            "Facts about the capital cities of the world. {{question}}",
            tuple(hazard),
        ),
        Task("general", "utility", None, "{{question}}", tuple(general)),
    )


SUITES: dict[str, Callable[[], tuple[Task, ...]]] = {"capitals": capitals}


def load_suite(name: str) -> tuple[Task, ...]:
    """Return the tasks of a suite.

    Raises:
        SuiteError: There is none of that name.
    """
    if name not in SUITES:
        raise SuiteError(name, f"is unknown; there are: {', '.join(SUITES)}")
    return SUITES[name]()


def write_items(task: Task, cache: Path) -> Path:
    """Write a task's items as JSON lines under `cache`, where the harness reads them."""
    path = cache / "suites" / f"{task.name}-{task.dataset_digest[7:19]}.jsonl"
    lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in task.items]
    write_bytes(path, "".join(lines).encode())
    return path


def _items(pairs: Sequence[tuple[str, str]], drawn: random.Random) -> list[Item]:
    """Make an item of each question; wrong choices are drawn from the other questions' answers."""
    answers = list(dict.fromkeys(answer for _, answer in pairs))
    items: list[Item] = []
    for question, answer in pairs:
        choices = drawn.sample([other for other in answers if other != answer], CHOICES - 1)
        choices.append(answer)
        drawn.shuffle(choices)
        items.append({"question": question, "choices": choices, "answer": choices.index(answer)})
    return items


def _read(name: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    with (DATA / name).open(newline="", encoding="utf-8") as stream:
        return [tuple(row[column] for column in columns) for row in csv.DictReader(stream)]
