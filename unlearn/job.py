"""A run as JSON: what the leader of a data-parallel run tells the other processes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from models.documents import Digest
from unlearn.batches import CHARACTERS_PER_TOKEN
from unlearn.cache import ActivationCache
from unlearn.config import RunConfig, parse_table
from unlearn.corpora import Corpus
from unlearn.plan import TopicCorpora


class Job(NamedTuple):
    """What `unlearn.train.fit` is called with."""

    config: RunConfig
    checkpoint: Path
    corpora: tuple[TopicCorpora, ...]
    base: Digest
    cache: ActivationCache | None
    state: Path


def write_job(job: Job) -> str:
    """Return a job as JSON; of texts only as much as can be used."""
    corpora = [
        [
            {
                "texts": [text[: topic.max_tokens * CHARACTERS_PER_TOKEN] for text in corpus.texts],
                "digest": corpus.digest,
                "spec": corpus.spec,
            }
            for corpus in pair
        ]
        for topic, pair in zip(job.config.topics, job.corpora, strict=True)
    ]
    values = {
        "config": job.config.as_json(),
        "checkpoint": str(job.checkpoint),
        "corpora": corpora,
        "base": job.base,
        "cache": job.cache and [str(job.cache.root), job.cache.limit_bytes],
        "state": str(job.state),
    }
    return json.dumps(values)


def read_job(text: str) -> Job:
    """Return the job that `write_job` wrote; its cache says nothing, since the leader's does."""
    values = json.loads(text)
    cache = values["cache"]
    return Job(
        parse_table(RunConfig, values["config"], "job"),
        Path(values["checkpoint"]),
        tuple(_topic(pair) for pair in values["corpora"]),
        values["base"],
        cache and ActivationCache(Path(cache[0]), cache[1], lambda _: None),
        Path(values["state"]),
    )


def _topic(pair: Sequence[Mapping[str, str]]) -> TopicCorpora:
    forget, retain = (
        Corpus(tuple(corpus["texts"]), corpus["digest"], corpus["spec"]) for corpus in pair
    )
    return TopicCorpora(forget, retain)
