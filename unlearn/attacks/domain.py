"""Domains: what is attacked, with which items, texts and layers.

Resolved before the network is forbidden: nothing here loads a model library, since those read once,
when they are imported, whether they may use it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.attacks import Attack
from models.manifest import Lineage, Manifest
from unlearn.corpora import Corpus, read_corpus
from unlearn.errors import CorpusError, SuiteError
from unlearn.evaluation.items import item_id
from unlearn.evaluation.tasks import Task

LAYER = re.compile(r"\.layers\.(\d+)\.")
LEAST_ITEMS = 6
"""Five stand as examples before a sixth, and lead a prefix for it; of fewer, a third of one half
leaves a probe nothing to learn from."""


@dataclass(frozen=True)
class Domain:
    """What is known of a hazard domain by whoever attacks it."""

    task: Task
    forget: Corpus
    retain: Corpus
    layers: range
    """From the first to the last layer that unlearning changed."""


class Order(NamedTuple):
    """What is to be done."""

    attacks: tuple[Attack, ...]
    domains: tuple[Domain, ...]


def domains_of(
    tasks: Sequence[Task],
    candidate: Manifest,
    texts_of: Manifest,
    cache: Path,
    token: str | None = None,
) -> tuple[Domain, ...]:
    """Return the domains that tasks measure, with the texts of a recipe.

    Args:
        tasks: Plain hazard tasks.
        candidate: What is attacked; its lineage names the layers that were changed.
        texts_of: Whose recipe names the texts: the candidate, or what it is compared with.
        cache: Where data sets of the hub are kept.
        token: The hub's access token, for gated data sets.

    Raises:
        SuiteError: A lineage does not say which texts or layers, or a task has too few items.
        CorpusError: The texts are not there, or are others by now.
        GatedCorpusError: Access to them has not been granted.
    """
    made, lineage = candidate.lineage, texts_of.lineage
    if made is None or lineage is None:
        raise SuiteError("depth", "a base has no lineage that names texts and layers")
    changed = made.changes.differing if made.changes else made.trained_tensors
    layers = sorted({int(found[1]) for name in changed if (found := LAYER.search(name))})
    if not layers:
        raise SuiteError("depth", "the checkpoint's lineage names no changed layer")
    for task in tasks:
        different = len({item_id(item) for item in task.items})
        if different < LEAST_ITEMS:
            few = f"attacks need {LEAST_ITEMS} different items, and there are {different}"
            raise SuiteError(task.name, few)
    return tuple(
        Domain(
            task=task,
            forget=_corpus(lineage, f"{task.domain}.forget", cache, token),
            retain=_corpus(lineage, f"{task.domain}.retain", cache, token),
            layers=range(layers[0], layers[-1] + 1),
        )
        for task in tasks
    )


def _corpus(lineage: Lineage, name: str, cache: Path, token: str | None) -> Corpus:
    """Return the texts that unlearning read, and no others."""
    source = lineage.corpora.get(name)
    if source is None or source.spec is None:
        raise SuiteError("depth", f"the checkpoint's lineage does not say where {name} came from")
    topics = lineage.recipe.get("topics")
    wanted = name.split(".", maxsplit=1)[0]
    shortest = next(
        (
            topic.get("min_characters", 0)
            for topic in (topics if isinstance(topics, list) else ())
            if isinstance(topic, dict) and topic.get("domain") == wanted
        ),
        0,
    )
    least = int(str(shortest))
    corpus = read_corpus(source.spec, cache=cache, token=token, min_characters=least)
    if corpus.digest != source.digest:
        raise CorpusError(source.spec, "holds other texts than those that were unlearned")
    return corpus
