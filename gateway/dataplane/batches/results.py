"""A batch's results: the output file and the error file, from its journal."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from gateway.dataplane.batches.journal import Journal
from gateway.dataplane.batches.lines import read_lines, unanswered_line
from gateway.dataplane.batches.shelf import Shelf, Writing
from gateway.settings import Settings
from gateway.tables import Batch, StoredFile

WHY_NOT = {
    "expired": ("batch_expired", "The completion window ended before this request's turn."),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request's turn."),
    "completed": ("internal_error", "An internal error occurred."),
}
"""What is said of a line without an answer; of a batch that is complete there is none."""


@dataclass(frozen=True)
class Results:
    """What was written."""

    output: StoredFile | None
    errors: StoredFile | None
    completed: int
    failed: int

    @property
    def files(self) -> list[StoredFile]:
        """The files that there are."""
        return [file for file in (self.output, self.errors) if file is not None]


class _Result:
    """One of the two files, begun with its first line."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.lines = 0
        self.domains: set[str] = set()
        self.file_id = f"file-{secrets.token_hex(16)}"
        self.writing: Writing | None = None

    def add(self, line: bytes, domains: tuple[str, ...] = ()) -> None:
        if self.writing is None:
            self.writing = self._shelf.write(self.file_id)
        self.writing.add(line + b"\n")
        if self.writing.is_full:
            self.writing.flush()
        self.lines += 1
        self.domains.update(domains)


def write_results(
    batch: Batch, state: str, journal: Journal, shelf: Shelf, settings: Settings, now: datetime
) -> Results:
    """Write a batch's results; every line of it stands in one of the files, once. Blocks.

    Args:
        batch: The batch.
        state: What it will be.
        journal: What became of its lines.
        shelf: Where its input is, and its results will be.
        settings: How long they are kept.
        now: The moment.

    Raises:
        StorageUnavailableError: They cannot be written; nothing of them is there then.
    """
    output, errors = _Result(shelf), _Result(shelf)
    begun = (output, errors)
    try:
        _collect(batch, state, journal, shelf, settings, output, errors)
        for result in begun:
            if result.writing is not None:
                result.writing.finish()
    except BaseException:
        for result in begun:
            if result.writing is not None:
                result.writing.abandon()
                shelf.remove(result.file_id)
        raise
    entered = partial(_entered, batch, settings, now)
    return Results(entered(output, "output"), entered(errors, "error"), output.lines, errors.lines)


def _collect(
    batch: Batch,
    state: str,
    journal: Journal,
    shelf: Shelf,
    settings: Settings,
    output: _Result,
    errors: _Result,
) -> None:
    ended: set[int] = set()
    for line in journal.read():
        ended.add(line.number)
        (output if line.is_answered else errors).add(line.result, line.domains)
    if len(ended) < batch.total:
        for custom_id in _left(batch, shelf, settings, ended):
            errors.add(unanswered_line(custom_id, *WHY_NOT[state]))


def _left(batch: Batch, shelf: Shelf, settings: Settings, ended: set[int]) -> Iterator[str]:
    for number, line in read_lines(shelf, batch.input_file_id, settings):
        if number not in ended:
            yield line.custom_id


def _entered(
    batch: Batch, settings: Settings, now: datetime, result: _Result, name: str
) -> StoredFile | None:
    if result.writing is None:
        return None
    kept_for = timedelta(days=settings.file_days)
    if batch.output_seconds is not None:
        kept_for = min(kept_for, timedelta(seconds=batch.output_seconds))
    return StoredFile(
        id=result.file_id,
        person_id=batch.person_id,
        purpose="batch_output",
        filename=f"{batch.id}_{name}.jsonl",
        size_bytes=result.writing.size_bytes,
        domains=sorted(result.domains),
        created_at=now,
        expires_at=now + kept_for,
    )
