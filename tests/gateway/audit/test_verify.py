"""Verifying exports offline: every planted fault is found, by name and by exit status."""

import anyio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.checkpoint import Checkpoint, Note
from gateway.audit.entry import make_leaf
from gateway.audit.export import (
    csv_line,
    export_for_reading,
    export_lines,
    ocsf_line,
)
from gateway.audit.log import append, sign_head
from gateway.audit.tree import leaf_hash, root_of
from gateway.audit.verify import EXIT_CODES, Finding, verify_export
from tests.gateway.audit.conftest import NOW, entry, opened
from tests.gateway.audit.test_checkpoint import CLERK, KEY

SIZES = (4, 7, 10)


def leaves(count: int = 10, **detail) -> list[bytes]:
    return [make_leaf(entry(i, **detail).body, i) for i in range(count)]


def signed(lines: list[bytes], size: int, *keys) -> Note:
    root = root_of([leaf_hash(line) for line in lines[:size]])
    checkpoint = Checkpoint("airlock/audit", size, root)
    return Note(checkpoint, tuple(key.sign(checkpoint, 1) for key in keys or (KEY,)))


def line_of(note: Note) -> bytes:
    return orjson.dumps({"checkpoint": note.text})


GOOD = leaves()
NOTES = [signed(GOOD, size) for size in SIZES]
EXPORT = [*GOOD, *map(line_of, NOTES)]
OTHER = leaves(who="another")


def changed(at: int, line: bytes) -> list[bytes]:
    return [*EXPORT[:at], line, *EXPORT[at + 1 :]]


FAULTS = {
    "intact": (EXPORT, Finding.INTACT),
    "one missing": (EXPORT[:3] + EXPORT[4:], Finding.MISSING),
    "the first missing": (EXPORT[1:], Finding.MISSING),
    "one altered": (changed(5, OTHER[5]), Finding.ALTERED),
    "one altered into no entry": (changed(5, GOOD[5][:-1]), Finding.ALTERED),
    "one added": ([*GOOD[:5], GOOD[4], *EXPORT[5:]], Finding.ALTERED),
    "a number beyond all counting": (
        [*EXPORT, make_leaf(entry(3).body, 2**63 - 1)],
        Finding.MISSING,
    ),
    "a number below all counting": ([*EXPORT, make_leaf(entry(3).body, -1)], Finding.ALTERED),
    "a moment beyond the last year": (
        changed(
            5,
            GOOD[5].replace(
                GOOD[5][GOOD[5].index(b'"at":"') + 6 :][:32], b"9999-12-31T23:59:59.000000-12:00"
            ),
        ),
        Finding.ALTERED,
    ),
    "a detail without a bottom": (
        changed(
            5, make_leaf(entry(5, what="x").body.replace(b'"x"', b"[" * 1020 + b"]" * 1020), 5)
        ),
        Finding.ALTERED,
    ),
    "two swapped": ([*GOOD[:2], GOOD[3], GOOD[2], *EXPORT[4:]], Finding.REORDERED),
    "two contents swapped": (
        [*GOOD[:2], make_leaf(entry(3).body, 2), make_leaf(entry(2).body, 3), *EXPORT[4:]],
        Finding.ALTERED,
    ),
    "the tail cut off": (GOOD[:8] + EXPORT[10:], Finding.TRUNCATED),
    "a checkpoint rewritten": (
        [*GOOD, line_of(Note(NOTES[2].checkpoint._replace(size=9), NOTES[2].signatures))],
        Finding.UNSIGNED,
    ),
    "no checkpoint": (GOOD, Finding.UNSIGNED),
    "entries after the last checkpoint": ([*GOOD, line_of(NOTES[1])], Finding.UNSIGNED),
    "signed by another": ([*GOOD, line_of(signed(GOOD, 10, CLERK))], Finding.UNSIGNED),
    "two histories of one size": ([*EXPORT, line_of(signed(OTHER, 10))], Finding.FORKED),
    "two histories of two sizes": ([*EXPORT, line_of(signed(OTHER, 5))], Finding.FORKED),
}


@pytest.mark.parametrize(("lines", "finding"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_told_apart(lines, finding):
    assert verify_export(lines, KEY.verifier).finding == finding


def test_each_finding_has_its_own_exit_status():
    assert len(set(EXIT_CODES.values())) == len(Finding)
    assert EXIT_CODES[Finding.INTACT] == 0
    assert {finding for _, finding in FAULTS.values()} == set(Finding)


def test_a_rewritten_history_shows_against_what_a_witness_kept():
    """The log's operator signs another history: in itself it is intact."""
    rewritten = [*OTHER, line_of(signed(OTHER, 10))]
    kept = signed(GOOD, 7, KEY, CLERK)
    assert verify_export(rewritten, KEY.verifier).finding == Finding.INTACT
    found = verify_export(rewritten, KEY.verifier, [kept], CLERK.verifier)
    assert found.finding == Finding.FORKED


def test_a_tail_cut_off_with_its_checkpoint_shows_against_what_a_witness_kept():
    shorter = [*GOOD[:7], *map(line_of, NOTES[:2])]
    assert verify_export(shorter, KEY.verifier).finding == Finding.INTACT
    kept = signed(GOOD, 10, KEY, CLERK)
    found = verify_export(shorter, KEY.verifier, [kept], CLERK.verifier)
    assert found.finding == Finding.TRUNCATED
    assert verify_export(EXPORT, KEY.verifier, [kept], CLERK.verifier).finding == Finding.INTACT
    unwitnessed = [signed(GOOD, 10)]
    found = verify_export(EXPORT, KEY.verifier, unwitnessed, CLERK.verifier)
    assert found.finding == Finding.UNSIGNED


@given(st.data())
def test_no_change_to_a_line_goes_unnoticed(data):
    at = data.draw(st.integers(0, 9))
    line = bytearray(GOOD[at])
    line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 127))
    assert verify_export(changed(at, bytes(line)), KEY.verifier).finding != Finding.INTACT


def test_what_the_database_exports_is_intact(settings):
    async def main():
        async with opened(settings) as database:
            for count in (3, 1100):
                async with database.transaction() as session:
                    await append(session, [entry(i) for i in range(count)])
                    await sign_head(session, KEY, NOW)
            async with database.transaction() as session:
                await append(session, [entry(9)])
                lines = [line async for line in export_lines(session, KEY, NOW)]
                read = [line async for line in export_for_reading(session, KEY, NOW, csv_line)]
            return lines, read

    lines, read = anyio.run(main)
    found = verify_export(lines, KEY.verifier)
    assert (found.finding, len(lines), len(read)) == (Finding.INTACT, 1104 + 3, 1104)
    assert verify_export(lines[:500] + lines[501:], KEY.verifier).finding == Finding.MISSING


def test_csv_and_ocsf_say_who_did_what():
    from gateway.audit.entry import Entry, Leaf

    granted = Entry(NOW, "admin:k1", "admin:grant:created", "g-1", {"person": "p-1"})
    denied = Entry(NOW, "=cmd()", "dataplane:request:denied", "req_1", {"model": "m"})
    assert csv_line(Leaf(4, granted)).decode() == (
        '4,2026-05-01T12:00:00+00:00,admin:k1,admin:grant:created,g-1,"{""person"":""p-1""}"'
    )
    assert b",'=cmd()," in csv_line(Leaf(5, denied))
    event = orjson.loads(ocsf_line(Leaf(4, granted)))
    assert (event["class_uid"], event["activity_id"], event["type_uid"]) == (3005, 1, 300501)
    assert event["user"]["uid"] == "p-1"
    event = orjson.loads(ocsf_line(Leaf(5, denied)))
    assert (event["class_uid"], event["category_uid"], event["status_id"]) == (6003, 6, 2)
    assert event["metadata"]["sequence"] == 5
    assert event["time"] == int(NOW.timestamp() * 1000)
