"""What a real PostgreSQL does to transactions that meet, or that are too many: 503, never a 401."""

import asyncio
import threading
import time

import anyio
import httpx
import pytest
from sqlalchemy import make_url, text

from gateway.db import POOL_TIMEOUT_SECONDS, Database, make_engine
from gateway.errors import NotReadyError
from tests.gateway.conftest import make_settings, psycopg_connection, run_gateway
from tests.gateway.controlplane.test_admin_api import code
from tests.servers import wait_for

MORE_THAN_CONNECTIONS = 24
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"  # noqa: E501


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    settings = make_settings(request, tmp_path_factory.mktemp("faults"), "postgresql")
    with run_gateway(settings) as made:
        yield made


@pytest.mark.timed
def test_with_every_connection_in_use_it_is_503_and_right_again_afterwards(running):
    pool = running.gateway.database._engine.sync_engine.pool
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(running.admin("GET", "/engines"))

    threads = [threading.Thread(target=ask) for _ in range(MORE_THAN_CONNECTIONS)]
    address = running.settings.database_url
    with (
        psycopg_connection(address) as holder,
        psycopg_connection(address) as watcher,
        holder.transaction(),
    ):
        holder.execute("LOCK TABLE engines IN ACCESS EXCLUSIVE MODE")
        for thread in threads:
            thread.start()
        every = pool.size() + pool._max_overflow
        wait_for(lambda: watcher.execute(WAITING).fetchone()[0] >= every)
        began = time.monotonic()
        assert code(running.admin("GET", "/tiers")) == (503, "not_ready")
        waited = time.monotonic() - began
        wait_for(lambda: len(answers) >= MORE_THAN_CONNECTIONS - every)
        assert {code(answer) for answer in answers} == {(503, "not_ready")}
        assert running.chat("public").status_code == 200, "it asks no database"
        base = running.chat("researcher", "smollm2:base")
        assert base.status_code == 200, "its entry in the audit log has a connection of its own"
        assert code(running.chat("airlock_key_wrong")) == (401, "invalid_api_key")
    for thread in threads:
        thread.join(10)
    assert {answer.status_code for answer in answers} == {200, 503}
    assert running.admin("GET", "/tiers").status_code == 200
    assert POOL_TIMEOUT_SECONDS - 1 < waited < 3 * POOL_TIMEOUT_SECONDS, "not SQLAlchemy's 30 s"


def test_a_connection_is_waited_for_as_long_on_both_databases(running, tmp_path):
    for url in (running.gateway.database.url, make_url(f"sqlite+aiosqlite:///{tmp_path}/a.db")):
        assert make_engine(url).sync_engine.pool.timeout() == POOL_TIMEOUT_SECONDS


async def both(database: Database, *, isolation: str, crossed: bool) -> list[BaseException | None]:
    """Two transactions that change the same two rows at the same time; return how each ended."""
    met = asyncio.Barrier(2)

    async def one(names: tuple[str, str]) -> None:
        async with database.transaction() as session:
            await session.connection(execution_options={"isolation_level": isolation})
            change = text("UPDATE tiers SET description = description || '.' WHERE name = :name")
            await session.execute(text("SELECT 1 FROM tiers"))
            await met.wait()
            await session.execute(change, {"name": names[0]})
            if crossed:
                await met.wait()
            await session.execute(change, {"name": names[1]})

    first, second = ("public", "researcher"), ("researcher", "public")
    works = (one(first), one(second if crossed else first))
    return list(await asyncio.gather(*works, return_exceptions=True))


@pytest.mark.parametrize(
    ("isolation", "crossed"),
    [("READ COMMITTED", True), ("REPEATABLE READ", False)],
    ids=["each waits for the other", "they cannot be put in an order"],
)
def test_of_two_that_cannot_both_be_one_is_done_and_the_other_told_to_try_again(
    running, isolation, crossed
):
    database = Database(running.settings)

    def lengths() -> list[int]:
        rows = running.admin("GET", "/tiers").json()
        return [len(row["description"]) for row in rows if row["name"] != "operator"]

    before = lengths()

    async def main() -> list[BaseException | None]:
        try:
            return await both(database, isolation=isolation, crossed=crossed)
        finally:
            await database.close()

    ends = anyio.run(main)
    assert [type(end) for end in ends if end is not None] == [NotReadyError]
    assert [now - then for now, then in zip(lengths(), before, strict=True)] == [1, 1]
