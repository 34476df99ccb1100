"""How a hub spec is written, and which files of a data set it means.

A configuration and a split are told by the files' names, as the hub's own tools write them:

    CONFIG/SPLIT-00000-of-00002.parquet     `push_to_hub`
    data/SPLIT-00000-of-00001.parquet       the same, of a data set with one configuration
    data/CONFIG/SPLIT-00000-of-00001.parquet
    CONFIG/SPLIT/0000.parquet               the hub's conversion, revision `refs/convert/parquet`
    SPLIT.jsonl                             one file

Nothing but the number of a part is taken off a name, so that two corpora never become one split.
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
PART = re.compile(r"-\d{5}(?P<of>-of-\d{5})(?:-[0-9a-f]{16})?$")
"""Older tools of the hub end it with a digest."""
CONVERTED = re.compile(r"\d+")


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
    pattern: str
    """The file's name without which part it is: parts of one split share it."""


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
        CorpusError: It means none or several, or the split is there more than once; the message
            lists what there is.
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
    chosen = {path: place for path, place in places.items() if place[:2] == (config, split)}
    patterns = sorted({place.pattern for place in chosen.values()})
    if len(patterns) > 1:
        raise CorpusError(spec, f"{split} of {config} is there twice: {', '.join(patterns)}")
    return set(chosen)


def place_of(path: str) -> Place | None:
    """Return the configuration and the split that a file holds a part of; None for other files."""
    *folders, name = path.split("/")
    if not name.endswith(SUFFIXES):
        return None
    stem, _, suffix = name.rpartition(".")
    if len(folders) >= 2 and CONVERTED.fullmatch(stem):
        return Place(folders[-2], folders[-1], "/".join([*folders, f"*.{suffix}"]))
    config = folders[-1] if folders and folders[-1] != "data" else ONLY_CONFIG
    pattern = PART.sub(r"-*\g<of>", stem)
    return Place(config, PART.sub("", stem), "/".join([*folders, f"{pattern}.{suffix}"]))
