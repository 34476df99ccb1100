"""How a hub spec is written, and which files of a data set it means.

A configuration and a split are told by the files' names, as the hub's own tools write them:

    CONFIG/SPLIT-00000-of-00002.parquet     `push_to_hub`
    data/SPLIT-00000-of-00001.parquet       the same, of a data set with one configuration
    CONFIG/SPLIT/0000.parquet               the hub's conversion, revision `refs/convert/parquet`
    SPLIT.jsonl                             one file
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from unlearn.errors import CorpusError

# The test split of wikitext-2 is the retain corpus of every published preset.
ALIASES = {"wikitext": ("Salesforce/wikitext", ("wikitext-2-raw-v1", "test"))}
SUFFIXES = (".parquet", ".jsonl")
ONLY_CONFIG = "default"
WORD = re.compile(r"[\w.-]+")


class HubSpec(NamedTuple):
    """A spec's parts."""

    repo: str
    words: tuple[str, ...]
    """The configuration and the split, as far as they are named."""
    revision: str | None
    """A commit, a tag or a branch."""


class Place(NamedTuple):
    """What a file's name tells."""

    config: str
    split: str


def parse_hub_spec(spec: str) -> HubSpec:
    """Take `hub:OWNER/NAME[/CONFIG][/SPLIT][@REVISION]` apart.

    Raises:
        CorpusError: It is written otherwise.
    """
    place, at, revision = spec.removeprefix("hub:").partition("@")
    words = tuple(place.split("/"))
    if words[0] in ALIASES:
        repo, usual = ALIASES[words[0]]
        given = words[1:]
        words = (*repo.split("/"), *given, *usual[len(given) :])
    is_clean = all(WORD.fullmatch(word) for word in words) and bool(revision) == bool(at)
    if not is_clean or not 2 <= len(words) <= 4:
        raise CorpusError(spec, "is not hub:OWNER/NAME[/CONFIG][/SPLIT][@REVISION]")
    return HubSpec("/".join(words[:2]), words[2:], revision or None)


def choose_files(spec: str, wanted: HubSpec, paths: Sequence[str]) -> set[str]:
    """Return the files of the one split that a spec means.

    Without a configuration the data set must have one only; without a split it is `train`, or
    the only one.

    Raises:
        CorpusError: It means none or several; the message lists what there is.
    """
    places = {path: place for path in paths if (place := place_of(path)) is not None}
    configs = sorted({place.config for place in places.values()})
    words = wanted.words
    if words and words[0] in configs:
        config, words = words[0], words[1:]
    elif len(configs) == 1:
        config = configs[0]
    else:
        there = ", ".join(configs) or "none of .parquet or .jsonl files"
        raise CorpusError(spec, f"name one of its configurations: {there}")
    splits = sorted({place.split for place in places.values() if place.config == config})
    usual = splits[0] if len(splits) == 1 else "train"
    split = "/".join(words) or usual
    if split not in splits:
        raise CorpusError(spec, f"name one of the splits of {config}: {', '.join(splits)}")
    return {path for path, place in places.items() if place == (config, split)}


def place_of(path: str) -> Place | None:
    """Return the configuration and the split that a file holds a part of; None for other files."""
    *folders, name = path.split("/")
    if not name.endswith(SUFFIXES):
        return None
    if len(folders) >= 2:
        return Place(*folders[-2:])
    config = folders[0] if folders and folders[0] != "data" else ONLY_CONFIG
    return Place(config, re.split(r"[-.]", name, maxsplit=1)[0])
