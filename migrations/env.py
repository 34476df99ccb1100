"""Runs migrations on the database of Alembic's configuration; `gateway.db` calls it."""

import asyncio

from alembic import context
from sqlalchemy import Connection, make_url

from gateway.db import make_engine
from gateway.tables import Base


def run(connection: Connection) -> None:
    """Run the migrations on one connection, in one transaction."""
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        # Rebuilding a table drops it, which foreign keys from other tables' rows would forbid;
        # they are checked as a whole at the end instead.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=is_sqlite,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
        if is_sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise RuntimeError("a migration left rows that refer to nothing")


async def connect_and_run() -> None:
    """Open a connection of its own, since the gateway's are in another event loop."""
    engine = make_engine(make_url(context.config.get_main_option("sqlalchemy.url") or ""))
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(connect_and_run())
