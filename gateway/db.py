"""The database: one engine, one kind of transaction, one schema on SQLite and PostgreSQL."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import ConnectionPoolEntry

from gateway.errors import ConfigurationError, InvalidRequestError, NotReadyError
from gateway.settings import Settings

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
CONNECT_TIMEOUT_SECONDS = 5
BUSY_TIMEOUT_MILLISECONDS = 5000
log = logging.getLogger(__name__)


class Database:
    """Opens transactions; the only place where one is committed."""

    def __init__(self, settings: Settings) -> None:
        """Connect lazily to the database that the settings name."""
        self.url = database_url(settings)
        self._engine = make_engine(self.url)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Yield a session whose work is committed at the end, or undone on an error.

        Raises:
            InvalidRequestError: It takes no such value.
            NotReadyError: It is down: never taken for a wrong key.
        """
        try:
            async with self._sessions.begin() as session:
                yield session
        except DataError as error:
            # PostgreSQL's texts hold no zero byte, and its integers end; the database is well.
            raise InvalidRequestError("A value cannot be stored.") from error
        except SQLAlchemyError as error:
            raise NotReadyError("The database did not answer") from error

    async def revisions(self) -> tuple[str | None, str | None]:
        """Return the schema's revision in the database and the newest one in the code.

        Raises:
            NotReadyError: The database is down.
        """
        try:
            async with self._engine.connect() as connection:
                current = await connection.run_sync(_current_revision)
        except (SQLAlchemyError, OSError) as error:
            raise NotReadyError("The database did not answer") from error
        return current, ScriptDirectory.from_config(alembic_config(self.url)).get_current_head()

    async def migrate(self, revision: str = "head") -> None:
        """Bring the schema to a revision."""
        config = alembic_config(self.url)
        step = command.upgrade if revision == "head" else command.downgrade
        await anyio.to_thread.run_sync(step, config, revision)

    async def prepare(self, settings: Settings) -> None:
        """Bring the embedded database up to date; refuse another that is not.

        Raises:
            ConfigurationError: The database's schema is not the code's.
        """
        current, newest = await self.revisions()
        if current == newest:
            return
        if settings.is_embedded:
            await self.migrate()
            return
        is_newer = current is not None and newest is not None and current > newest
        if is_newer and settings.allow_newer_schema:
            log.warning("the database has schema %s, newer than the code's %s", current, newest)
            return
        do = "start the version that migrated it" if is_newer else "run `airlock migrate`"
        raise ConfigurationError(f"the database has schema {current}, the code {newest}: {do}")

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def database_url(settings: Settings) -> URL:
    """Return the database's URL; the embedded one is a file under `home`.

    Raises:
        ConfigurationError: The URL is of another kind.
    """
    if settings.database_url is None:
        settings.home.mkdir(parents=True, exist_ok=True)
        return make_url(f"sqlite+aiosqlite:///{settings.home.resolve() / 'airlock.db'}")
    url = make_url(settings.database_url)
    if url.drivername not in ("sqlite+aiosqlite", "postgresql+psycopg"):
        raise ConfigurationError(
            f"AIRLOCK_DATABASE_URL is of the kind {url.drivername}; use postgresql+psycopg://…"
        )
    if settings.database_password_file is not None:
        url = url.set(password=settings.database_password_file.read_text().strip())
    return url


def make_engine(url: URL) -> AsyncEngine:
    """Return an engine; SQLite checks foreign keys and lets readers go on beside the writer."""
    if url.get_backend_name() != "sqlite":
        return create_async_engine(
            url, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS}
        )
    engine = create_async_engine(url)

    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in (
            "foreign_keys=ON",
            "journal_mode=WAL",
            f"busy_timeout={BUSY_TIMEOUT_MILLISECONDS}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)
    return engine


def alembic_config(url: URL) -> Config:
    """Return Alembic's configuration for a database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    # The configuration's own syntax uses the percent sign, which passwords may hold.
    rendered = url.render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", rendered.replace("%", "%%"))
    return config


def _current_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
