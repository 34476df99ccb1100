"""Writes a corpus: the base model's own texts on given topics, for who lacks the published ones.

Finished topics are kept in `FILE.part`, so that a broken run goes on where it was. FILE appears
whole, then its manifest; `FILE.part` goes last.
"""

import errno
import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx2

from models.documents import write_bytes
from models.errors import StoreFullError
from unlearn.corpora.corpus import digest_of_texts
from unlearn.corpora.endpoint import ask
from unlearn.corpora.writing import Writing, Written, manifest_path, read_written
from unlearn.errors import CorpusError, DiskFullError
from unlearn.provenance import code_commit

# A text with an excluded wording is asked for again, with another seed.
TRIES = 3


class TopicDone(NamedTuple):
    """What was written on one topic."""

    texts: tuple[str, ...]
    dropped: int


def write_corpus(
    writing: Writing,
    out: Path,
    client: httpx2.Client,
    *,
    patterns: Sequence[re.Pattern[str]] = (),
    concurrency: int = 8,
    licence: str | None = None,
    on_topic: Callable[[TopicDone], None],
) -> Written:
    """Write a corpus, or go on with one that was broken off.

    The texts' order is drawn from the seed; neither it nor a text's own seed depends on
    `concurrency` or on where a run was broken off.

    Args:
        writing: What to write.
        out: The file, JSON lines of `{"text": …, "topic": …}`.
        client: Speaks to the endpoint.
        patterns: A text that one of them matches is dropped.
        concurrency: How many requests are under way at once.
        licence: The texts' licence, for the manifest.
        on_topic: Told of every finished topic, also of those that were finished before.

    Raises:
        CorpusError: `out` holds or was begun as something else, or no text was left.
        WriterError: The endpoint refuses or fails; finished topics are kept.
        DiskFullError: No room for it; finished topics are kept.
    """
    if out.exists():
        before = read_written(out)
        if before is not None and before.writing == writing:
            part_path(out).unlink(missing_ok=True)
            return before
        if before is not None or not part_path(out).exists():
            raise CorpusError(f"file:{out}", "is there already; name another --out")
    try:
        done = read_part(out, writing)
        for topic in done.values():
            on_topic(topic)
        missing = [topic for topic in writing.topics if topic not in done]
        write_topics(writing, missing, out, client, patterns, concurrency, done, on_topic)
        return finish(writing, out, done, licence)
    except StoreFullError as error:
        raise DiskFullError(out) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(out) from error
        raise


def write_topics(
    writing: Writing,
    missing: Sequence[str],
    out: Path,
    client: httpx2.Client,
    patterns: Sequence[re.Pattern[str]],
    concurrency: int,
    done: dict[str, TopicDone],
    on_topic: Callable[[TopicDone], None],
) -> None:
    """Write topics, adding each to `done` and to the file of finished ones."""
    texts: dict[str, dict[int, str | None]] = {topic: {} for topic in missing}
    tries = dict.fromkeys(missing, 0)

    def write_one(topic: str, index: int) -> tuple[str, int, str | None, int]:
        for attempt in range(TRIES):
            text = ask(client, writing, topic, seed_of(writing, topic, index, attempt))
            if text and not any(pattern.search(text) for pattern in patterns):
                return topic, index, text, attempt
        return topic, index, None, TRIES

    with ThreadPoolExecutor(concurrency) as pool:
        under_way = [
            pool.submit(write_one, topic, index)
            for topic in missing
            for index in range(writing.per_topic)
        ]
        try:
            for future in as_completed(under_way):
                topic, index, text, dropped = future.result()
                texts[topic][index] = text
                tries[topic] += dropped
                if len(texts[topic]) == writing.per_topic:
                    kept = [text for _, text in sorted(texts.pop(topic).items()) if text]
                    done[topic] = TopicDone(tuple(kept), tries[topic])
                    append_part(out, topic, done[topic])
                    on_topic(done[topic])
        except BaseException:
            # Those that have not begun never will; leaving the block waits for the others.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def seed_of(writing: Writing, topic: str, index: int, attempt: int) -> int:
    """Return a request's own seed: 31 bits, which every engine takes."""
    words = json.dumps([writing.seed, topic, index, attempt]).encode()
    return int.from_bytes(hashlib.sha256(words).digest()[:4], "big") >> 1


def finish(writing: Writing, out: Path, done: dict[str, TopicDone], licence: str | None) -> Written:
    """Write the corpus whole, then its manifest, and forget the finished topics."""
    rows = [(topic, text) for topic in writing.topics for text in done[topic].texts]
    random.Random(writing.seed).shuffle(rows)  # noqa: S311 - an order, not a secret
    if not rows:
        raise CorpusError(f"file:{out}", "no text was left: every one was empty or excluded")
    lines = [json.dumps({"text": text, "topic": topic}) + "\n" for topic, text in rows]
    written = Written(
        writing=writing,
        digest=digest_of_texts(text for _, text in rows),
        texts=len(rows),
        dropped=sum(topic.dropped for topic in done.values()),
        licence=licence,
        code_commit=code_commit(),
        written_at=datetime.now(UTC),
    )
    write_bytes(out, "".join(lines).encode(), mode=0o644)
    write_bytes(manifest_path(out), written.model_dump_json(indent=2).encode(), mode=0o644)
    part_path(out).unlink(missing_ok=True)
    return written


def part_path(out: Path) -> Path:
    """Return where the finished topics of an unfinished corpus are."""
    return out.with_name(f"{out.name}.part")


def read_part(out: Path, writing: Writing) -> dict[str, TopicDone]:
    """Return the topics that an earlier run finished; begin the file when there is none.

    Raises:
        CorpusError: The earlier run was asked for something else.
    """
    path = part_path(out)
    head = json.dumps({"writing": writing.document_digest}) + "\n"
    if not path.exists():
        write_bytes(path, head.encode(), mode=0o644)
        return {}
    # A line that a killed run left without its end is no finished topic, and is written over.
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    if not lines or lines[0] != head:
        raise CorpusError(
            f"file:{out}",
            f"was begun with other parameters; go on with those, or remove {path.name}",
        )
    write_bytes(path, "".join(lines).encode(), mode=0o644)
    rows = [json.loads(line) for line in lines[1:]]
    return {row["topic"]: TopicDone(tuple(row["texts"]), row["dropped"]) for row in rows}


def append_part(out: Path, topic: str, done: TopicDone) -> None:
    """Keep a finished topic."""
    with part_path(out).open("a") as stream:
        stream.write(json.dumps({"topic": topic, **done._asdict()}) + "\n")
