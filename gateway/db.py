"""The database: one engine, one kind of transaction, one schema on SQLite and PostgreSQL."""

import fcntl
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio.to_thread
from sqlalchemy import Connection, Executable, Select, event, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DataError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from gateway.errors import ConfigurationError, InvalidRequestError, NotReadyError
from gateway.poll import Columns, Poll
from gateway.settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
CONNECT_TIMEOUT_SECONDS = 5
BUSY_TIMEOUT_MILLISECONDS = 5000
POOL_TIMEOUT_SECONDS = 5
"""How long a request waits for a connection before it is 503. As long as it would for a database
that is down: SQLAlchemy's 30 s keep a caller, and what a load balancer would send to another
gateway, for longer than most clients wait, and what is queued holds its memory meanwhile."""
log = logging.getLogger(__name__)


class Database:
    """Opens transactions; the only place where one is committed."""

    def __init__(self, settings: Settings, connections: int | None = None) -> None:
        """Connect lazily to the database that the settings name, with so many connections."""
        self.url = database_url(settings)
        self._engine = make_engine(self.url, connections=connections)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        # Apart from the pool, so that no number of requests keeps anybody from asking.
        self._unpooled = make_engine(self.url, is_pooled=False)
        self._polls: list[Poll[*tuple[Any, ...]]] = []

    async def __aenter__(self) -> Self:
        """Let it be used in a block that closes it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

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
            if isinstance(error, StatementError) and isinstance(error.orig, OverflowError):
                # A moment of the last year that is one of no year in UTC: it was never sent.
                raise InvalidRequestError("A value cannot be stored.") from error
            raise NotReadyError("The database did not answer") from error

    def poll(self, question: Select[*Columns]) -> Poll[*Columns]:
        """Return what asks one question again and again, until the database is closed."""
        poll = Poll(self._unpooled, question)
        self._polls.append(poll)
        return poll

    async def execute_apart(self, statement: Executable) -> None:
        """Execute one statement by itself, for which no request keeps a connection busy.

        Raises:
            NotReadyError: The database is down.
        """
        apart = self._unpooled.execution_options(isolation_level="AUTOCOMMIT")
        try:
            async with apart.connect() as connection:
                await connection.execute(statement)
        except (SQLAlchemyError, OSError) as error:
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
        return current, newest_revision()

    async def migrate(self, revision: str = "head") -> None:
        """Bring the schema to a revision."""
        # Eleven megabytes, which a worker that finds its schema current does not pay for.
        from alembic import command

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
        found = current or "(none)"
        raise ConfigurationError(f"the database has schema {found}, the code {newest}: {do}")

    async def close(self) -> None:
        """Close every connection."""
        for poll in self._polls:
            await poll.close()
        await self._engine.dispose()


def database_url(settings: Settings) -> URL:
    """Return the database's URL; the embedded one is a file under `home`.

    Raises:
        ConfigurationError: It is no URL, or one of another kind.
    """
    if settings.database_url is None:
        settings.home.mkdir(parents=True, exist_ok=True)
        return make_url(f"sqlite+aiosqlite:///{settings.home.resolve() / 'airlock.db'}")
    try:
        url = make_url(settings.database_url)
    except (ArgumentError, ValueError):
        # Without its text, which may hold a part of the password.
        raise ConfigurationError("AIRLOCK_DATABASE_URL is no URL") from None
    if url.drivername not in ("sqlite+aiosqlite", "postgresql+psycopg"):
        raise ConfigurationError(
            f"AIRLOCK_DATABASE_URL is of the kind {url.drivername}; use postgresql+psycopg://…"
        )
    if settings.database_password_file is not None:
        url = url.set(password=settings.database_password_file.read_text().strip())
    return url


def make_engine(url: URL, *, is_pooled: bool = True, connections: int | None = None) -> AsyncEngine:
    """Return an engine; SQLite checks foreign keys and lets readers go on beside the writer."""
    pool: dict[str, Any] = (
        {"pool_timeout": POOL_TIMEOUT_SECONDS} if is_pooled else {"poolclass": NullPool}
    )
    if connections is not None:
        pool |= {"pool_size": connections, "max_overflow": 0}
    if url.get_backend_name() != "sqlite":
        return create_async_engine(
            url,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS},
            **pool,
        )
    engine = create_async_engine(url, **pool)

    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in (
            "foreign_keys=ON",
            "journal_mode=WAL",
            f"busy_timeout={BUSY_TIMEOUT_MILLISECONDS}",
            # What is destroyed is overwritten in the file; not every build of SQLite does so.
            "secure_delete=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "savepoint", _begin)
    return engine


def _begin(connection: Connection, _: str) -> None:
    """Open the transaction that a savepoint is in: the driver does so for writes only.

    A savepoint outside of one would be committed at its end, whatever became of the rest.
    """
    driver = connection.connection.driver_connection
    if driver is not None and not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def sole_gateway(url: URL) -> Iterator[None]:
    """Be the one gateway on a SQLite file for a while; PostgreSQL takes any number.

    Two would admit every limit twice, since Redis is for PostgreSQL, and a newer one would migrate
    the file under an older one. A gateway that is killed leaves no lock behind.

    Raises:
        ConfigurationError: Another gateway serves the file.
    """
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    # Not the file itself: to close it again would end the locks that SQLite holds on it.
    with Path(f"{url.database}.gateway").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"another gateway serves {url.database}; a SQLite file is for one. Stop that one, "
                "or give both a PostgreSQL (AIRLOCK_DATABASE_URL) and a Redis (AIRLOCK_REDIS_URL)"
            ) from error
        yield


def newest_revision() -> str:
    """Return the code's newest revision: files are named by revision, which count up."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("*.py")).partition("_")[0]


def alembic_config(url: URL) -> "Config":
    """Return Alembic's configuration for a database."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    # The configuration's own syntax uses the percent sign, which passwords may hold.
    rendered = url.render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", rendered.replace("%", "%%"))
    return config


def _current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)
