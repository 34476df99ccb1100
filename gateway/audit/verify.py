"""Verifies an export offline, from the file and public keys, and tells what is wrong apart.

    missing      a number is not there, and later ones are
    altered      the entries are not those that a checkpoint was signed over
    reordered    the entries stand in another order
    forked       the log signed two histories
    truncated    the file ends before a signed checkpoint does
    unsigned     no checkpoint in it is signed by the log's key

A tail that was cut off together with its checkpoints shows only against a checkpoint that somebody
else has kept: a witness's, or one from a receipt.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

import orjson

from gateway.audit.checkpoint import Checkpoint, Note, VerifierKey, is_signed, parse_note
from gateway.audit.entry import read_leaf
from gateway.audit.tree import EMPTY_ROOT, Frontier, leaf_hash
from gateway.errors import AuditFileError


class Finding(StrEnum):
    """What an export is."""

    INTACT = "intact"
    MISSING = "missing"
    ALTERED = "altered"
    REORDERED = "reordered"
    FORKED = "forked"
    TRUNCATED = "truncated"
    UNSIGNED = "unsigned"


EXIT_CODES = {
    Finding.INTACT: 0,
    Finding.MISSING: 10,
    Finding.ALTERED: 11,
    Finding.REORDERED: 12,
    Finding.FORKED: 13,
    Finding.TRUNCATED: 14,
    Finding.UNSIGNED: 15,
}


class Verified(NamedTuple):
    """What was found, and a sentence that says where."""

    finding: Finding
    reason: str


class _Export(NamedTuple):
    leaves: list[tuple[int, bytes]]
    """Number and hash, in the file's order."""
    notes: list[Note]


def verify_export(
    lines: Iterable[bytes],
    key: VerifierKey,
    kept: Sequence[Note] = (),
    witness: VerifierKey | None = None,
) -> Verified:
    """Say what an export is.

    Args:
        lines: Of the file.
        key: The log's.
        kept: Checkpoints that somebody kept elsewhere.
        witness: Whose cosignature every checkpoint in `kept` must bear, too.
    """
    try:
        export = _read(lines)
    except AuditFileError as error:
        return Verified(Finding.ALTERED, str(error))
    for note in (*export.notes, *kept):
        if not is_signed(note, key):
            size = note.checkpoint.size
            return Verified(Finding.UNSIGNED, f"the checkpoint at {size} is not signed by the log")
    if witness is not None and not all(is_signed(note, witness) for note in kept):
        return Verified(Finding.UNSIGNED, "a kept checkpoint is not signed by the witness")
    if not export.notes:
        return Verified(Finding.UNSIGNED, "the file holds no signed checkpoint")
    return _order(export) or _history(
        [value for _, value in export.leaves],
        [note.checkpoint for note in (*export.notes, *kept)],
    )


def _read(lines: Iterable[bytes]) -> _Export:
    leaves, notes = [], []
    for number, line in enumerate(lines, 1):
        raw = line.rstrip(b"\n")
        try:
            if raw.startswith(b'{"checkpoint"'):
                notes.append(parse_note(str(orjson.loads(raw)["checkpoint"])))
            else:
                leaves.append((read_leaf(raw).seq, leaf_hash(raw)))
        except (AuditFileError, ValueError) as error:
            raise AuditFileError(f"line {number}: {error}") from error
    return _Export(leaves, notes)


def _order(export: _Export) -> Verified | None:
    numbers = [number for number, _ in export.leaves]
    known = set(numbers)
    if len(known) < len(numbers):
        return Verified(Finding.ALTERED, "a number stands for several entries")
    gaps = max(numbers, default=-1) + 1 - len(known)
    if gaps:
        # Found by what is there: a number that somebody made up may be beyond all counting.
        first = next(place for place, number in enumerate(sorted(known)) if place != number)
        return Verified(Finding.MISSING, f"{gaps} entries, the first of them {first}")
    for place, number in enumerate(numbers):
        if place != number:
            return Verified(Finding.REORDERED, f"entry {number} stands in place {place}")
    return None


def _history(leaves: list[bytes], checkpoints: list[Checkpoint]) -> Verified:
    roots = _roots(leaves, {checkpoint.size for checkpoint in checkpoints})
    signed: dict[int, bytes] = {}
    for each in checkpoints:
        if signed.setdefault(each.size, each.root) != each.root:
            return Verified(Finding.FORKED, f"two roots are signed for {each.size} entries")
    good = [size for size, root in roots.items() if signed[size] == root]
    bad = [size for size, root in roots.items() if signed[size] != root]
    if bad and good and max(good) > min(bad):
        return Verified(
            Finding.FORKED,
            f"the entries are those signed at {max(good)}, and not those signed at {min(bad)}",
        )
    if bad:
        since = max((size for size in good if size < min(bad)), default=0)
        return Verified(
            Finding.ALTERED, f"an entry from {since} up to {min(bad) - 1} is not what was signed"
        )
    newest = max(signed)
    if newest > len(leaves):
        return Verified(
            Finding.TRUNCATED, f"{len(leaves)} entries are there, and {newest} are signed"
        )
    unsigned = len(leaves) - newest
    if unsigned:
        return Verified(Finding.UNSIGNED, f"the last {unsigned} entries are under no checkpoint")
    return Verified(Finding.INTACT, f"{newest} entries, root {signed[newest].hex()}")


def _roots(leaves: list[bytes], sizes: set[int]) -> dict[int, bytes]:
    """Return the roots of the trees of those sizes that there are enough leaves for."""
    roots, frontier = {0: EMPTY_ROOT} if 0 in sizes else {}, Frontier()
    for leaf in leaves:
        frontier.append(leaf)
        if frontier.size in sizes:
            roots[frontier.size] = frontier.root
    return roots
