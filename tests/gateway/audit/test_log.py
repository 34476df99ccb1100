"""The log in the database: gapless, provable, and closed to changes, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta

import anyio
import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text

from gateway.audit.checkpoint import is_signed
from gateway.audit.entry import Entry, make_leaf, read_leaf
from gateway.audit.log import append, prove_consistency, prove_inclusion, read_head, sign_head
from gateway.audit.tree import is_consistent, is_included, leaf_hash, root_of
from gateway.controlplane.changes import Tag, record_change, record_event
from gateway.db import Database
from gateway.errors import AuditFileError, NotReadyError
from gateway.tables import AuditEntry
from tests.gateway.audit.conftest import NOW, entry, opened
from tests.gateway.audit.test_checkpoint import KEY

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.text(), st.text(), st.dictionaries(st.text(), JSON), st.integers(0, 2**53 - 1))
def test_a_leaf_is_canonical_and_is_read_back(actor, subject, detail, seq):
    given_entry = Entry(NOW, actor, "a:b:c", subject, detail)
    leaf = make_leaf(given_entry.body, seq)
    assert leaf == rfc8785.dumps(orjson.loads(leaf))
    assert read_leaf(leaf).seq == seq
    assert read_leaf(leaf).entry == given_entry


@pytest.mark.parametrize(
    "change",
    [
        lambda leaf: leaf.replace(b'"seq":7', b'"seq": 7'),
        lambda leaf: leaf.replace(b'"v":1', b'"v":2'),
        lambda leaf: leaf.replace(b'"v":1', b'"v":1,"x":0'),
        lambda leaf: leaf.replace(b'"entry"', b'"entri"'),
        lambda leaf: leaf[:-1],
        lambda leaf: b"[]",
    ],
)
def test_what_is_no_leaf_is_refused(change):
    leaf = make_leaf(entry().body, 7)
    with pytest.raises(AuditFileError):
        read_leaf(change(leaf))


def test_every_entry_is_proven_against_the_signed_head(settings):
    async def main() -> None:
        async with opened(settings) as database:
            sizes = []
            for count in (1, 2, 300, 5, 400):
                async with database.transaction() as session:
                    await append(session, [entry(i) for i in range(count)])
                    sizes.append(await read_head(session, "x"))
            async with database.transaction() as session:
                note = await sign_head(session, KEY, NOW)
                leaves = list(
                    await session.scalars(select(AuditEntry.leaf).order_by(AuditEntry.seq))
                )
                head = note.checkpoint
                assert is_signed(note, KEY.verifier)
                assert head.size == len(leaves) == 708
                assert head.root == root_of([leaf_hash(leaf) for leaf in leaves])
                for seq in (0, 1, 255, 256, 511, 700, 707):
                    found = await prove_inclusion(session, seq, 708)
                    hashed = leaf_hash(found.leaf)
                    assert is_included(hashed, seq, 708, found.proof, head.root)
                for old in sizes:
                    proof = await prove_consistency(session, old.size, 708)
                    assert is_consistent(old.size, 708, old.root, head.root, proof)
                assert await sign_head(session, KEY, NOW + timedelta(days=1)) == note

    anyio.run(main)


def test_replicas_append_without_gaps(settings):
    """Three replicas append at once; every number is there once, and the tree is whole."""

    async def replica(name: str) -> None:
        async with opened(settings) as database:
            for number in range(20):
                async with database.transaction() as session:
                    await append(session, [entry(number, who=name)])

    async def main() -> None:
        async with opened(settings):
            pass
        async with asyncio.TaskGroup() as tasks:
            for name in "abc":
                tasks.create_task(replica(name))
        async with opened(settings) as database, database.transaction() as session:
            rows = list(await session.scalars(select(AuditEntry).order_by(AuditEntry.seq)))
            assert [row.seq for row in rows] == list(range(60))
            assert [read_leaf(row.leaf).seq for row in rows] == list(range(60))
            head = await read_head(session, "x")
            assert head.root == root_of([row.hash for row in rows])

    anyio.run(main)


async def fail_after_appending(database: Database) -> None:
    async with database.transaction() as session:
        await append(session, [entry(1)])
        raise KeyError("half-way")


def test_a_transaction_that_fails_leaves_no_gap(settings):
    async def main() -> None:
        async with opened(settings) as database:
            async with database.transaction() as session:
                await append(session, [entry(0)])
            with pytest.raises(KeyError):
                await fail_after_appending(database)
            async with database.transaction() as session:
                assert await append(session, [entry(2)]) == 1

    anyio.run(main)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET actor = 'nobody'",
        "DELETE FROM audit_entries",
        "DELETE FROM audit_entries WHERE seq = 0",
    ],
)
def test_the_database_refuses_to_change_or_remove_an_entry(settings, statement):
    async def main() -> None:
        async with opened(settings) as database:
            async with database.transaction() as session:
                await append(session, [entry(0), entry(1)])
            with pytest.raises(NotReadyError):
                async with database.transaction() as session:
                    await session.execute(text(statement))
            async with database.transaction() as session:
                assert len(list(await session.scalars(select(AuditEntry.seq)))) == 2

    anyio.run(main)


def test_the_events_of_before_become_the_first_entries_and_events_again(settings):
    moment = datetime(2026, 4, 1, 8, 30, 15, 123456, tzinfo=UTC)

    async def events(database: Database) -> list[tuple]:
        async with database.transaction() as session:
            query = "SELECT actor, tag, subject FROM audit_events ORDER BY id"
            return [tuple(row) for row in await session.execute(text(query))]

    async def main() -> None:
        async with opened(settings) as database:
            await database.migrate("0005")
            async with database.transaction() as session:
                for number in range(300):
                    await session.execute(
                        text(
                            "INSERT INTO audit_events (id, at, actor, tag, subject, detail) "
                            "VALUES (:id, :at, 'a', 'admin:tier:changed', :subject, :detail)"
                        ),
                        {
                            "id": number * 2 + 1,
                            "at": moment if "postgresql" in str(database.url) else str(moment)[:26],
                            "subject": f"s{number}",
                            "detail": '{"days": 30}',
                        },
                    )
            before = await events(database)
            await database.migrate()
            async with database.transaction() as session:
                rows = list(await session.scalars(select(AuditEntry).order_by(AuditEntry.seq)))
                leaf = read_leaf(rows[299].leaf)
                assert (leaf.seq, leaf.entry.subject) == (299, "s299")
                assert leaf.entry.at == moment
                assert leaf.entry.detail == {"days": 30}
                head = await read_head(session, "x")
                assert head.root == root_of([row.hash for row in rows])
                found = await prove_inclusion(session, 3, 300)
                assert is_included(leaf_hash(found.leaf), 3, 300, found.proof, head.root)
                assert await append(session, [entry()]) == 300
            await database.migrate("0005")
            assert (await events(database))[:300] == before
            assert len(await events(database)) == 301
            await database.migrate()

    anyio.run(main)


def test_an_event_before_a_change_and_a_change_alone_do_not_lock_each_other_out(settings):
    """As a person takes the workflow's last step while an administrator changes a tier."""

    async def main() -> None:
        began = anyio.Event()

        async def both(database: Database) -> None:
            async with database.transaction() as session:
                await record_event(session, Tag.ROLES_CHANGED, "a", actor="x", now=NOW)
                began.set()
                await anyio.sleep(0.3)
                await record_change(session, Tag.TIER_CHANGED, "b", actor="x", now=NOW)

        async def one(database: Database) -> None:
            await began.wait()
            async with database.transaction() as session:
                await record_change(session, Tag.TIER_CHANGED, "c", actor="y", now=NOW)

        async with opened(settings) as first, opened(settings) as second:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(both, first)
                tasks.start_soon(one, second)
            async with first.transaction() as session:
                rows = await session.scalars(select(AuditEntry.subject).order_by(AuditEntry.seq))
                assert list(rows) == ["a", "b", "c"]

    anyio.run(main)
