"""Runs migrations on the database of Alembic's configuration; `gateway.db` calls it."""

import asyncio

from alembic import context
from sqlalchemy import Connection, make_url

from gateway.db import make_engine
from gateway.tables import Base


def run(connection: Connection) -> None:
    """Run the migrations on one connection, in one transaction."""
    if connection.dialect.name == "sqlite":
        # SQLite changes a table by copying it, and would refuse to drop one that rows refer to.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


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
