"""Variants: the same items put to the model in another way, to see whether knowledge comes back.

Each keeps the harness's definition but for what it is named for; a subset that it does not apply
to has none (there are no letters to shuffle in a cloze).
"""

import random
from dataclasses import replace
from typing import get_args

from pydantic import JsonValue

from models.report import Variant
from unlearn.errors import SuiteError
from unlearn.evaluation.capitals import cloze, lettered
from unlearn.evaluation.items import LETTERS, Item
from unlearn.evaluation.tasks import Definition, Task

FEW_SHOT = 5
VARIANTS: tuple[Variant, ...] = ("few-shot", "shuffled", "paraphrase", "chat-template", "cloze")
"""Those that are made from a plain task; `robust` is a data set of its own."""

BY_LENGTH: JsonValue = {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True}
# Frames for the same question that share no words with the harness's own.
LETTERED_FRAME = "Question: {{question.strip()}}\n\n" + "".join(
    f"({letter}) {{{{choices[{index}]}}}}\n" for index, letter in enumerate(LETTERS)
)


def parse_variants(words: str) -> tuple[Variant, ...]:
    """Return the variants that a comma-separated list names; `all` is every one of them.

    Raises:
        SuiteError: One is unknown.
    """
    names = [word.strip() for word in words.split(",") if word.strip()]
    if names == ["all"]:
        return VARIANTS
    for name in names:
        if name not in VARIANTS or name not in get_args(Variant):
            raise SuiteError(name, f"is no variant; there are: {', '.join(VARIANTS)}, or all")
    return tuple(variant for variant in VARIANTS if variant in names)


def vary(task: Task, variant: Variant) -> Task | None:
    """Return a plain task put in another way, or None where that way does not apply to it."""
    varied = replace(task, name=f"{task.name}.{variant}", variant=variant, variant_of=task.name)
    if variant == "few-shot":
        return replace(varied, definition={**task.definition, "num_fewshot": FEW_SHOT})
    if variant == "shuffled":
        shuffled = tuple(_shuffle(item, index) for index, item in enumerate(task.items))
        return replace(varied, items=shuffled, plain_items=task.items) if task.is_lettered else None
    if variant == "paraphrase":
        return replace(varied, definition=_paraphrase(task))
    if variant == "cloze":
        bare = cloze("Question: {{question.strip()}}\nAnswer:")
        by_length = replace(varied, definition={**bare, "metric_list": [BY_LENGTH]})
        return by_length if task.is_lettered else None
    return varied


def _paraphrase(task: Task) -> Definition:
    """Return another frame around the same question and choices."""
    if not task.is_lettered:
        return cloze("Here is something that everybody should know: {{question}}")
    description = "Below is an exam question. Exactly one of the options is right.\n\n"
    return lettered(description, "The right option is", LETTERED_FRAME)


def _shuffle(item: Item, index: int) -> Item:
    """Return an item with its choices in another order, which depends on its place alone."""
    drawn = random.Random(index)  # noqa: S311 - not a secret; the same order everywhere
    order = list(range(len(item["choices"])))
    while order == sorted(order):
        drawn.shuffle(order)
    return {
        "question": item["question"],
        "choices": [item["choices"][place] for place in order],
        "answer": order.index(item["answer"]),
    }
