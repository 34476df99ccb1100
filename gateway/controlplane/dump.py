"""Copies of the whole database: SQLite by its online backup, PostgreSQL by its own tools.

Both are taken while gateways work and show one moment. What was there before a copy is put back is
kept beside it, until an operator removes it.
"""

import shutil
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL

from gateway.errors import ConfigurationError

BESIDE = "before_restore_"
"""How the name of the schema begins that holds what was there before."""
LOCK_MILLISECONDS = 10_000


class Dumper:
    """Copies one database, and puts copies back."""

    def __init__(self, url: URL, tools: Path | None, environment: Mapping[str, str]) -> None:
        """Copy a database.

        Args:
            url: Its address.
            tools: The folder of PostgreSQL's programs, if they are not on the path.
            environment: For those programs.
        """
        self.url = url
        self._tools = tools
        self._environment = environment

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def file_name(self) -> str:
        """What a copy is called."""
        return "database.sqlite" if self.is_sqlite else "database.pgdump"

    def dump(self, to: Path) -> None:
        """Write a copy.

        Raises:
            ConfigurationError: The database, or a program that is needed, is not there.
        """
        if not self.is_sqlite:
            self._run(
                *("pg_dump", "--format=custom", "--no-owner", "--no-privileges"),
                *(f"--lock-wait-timeout={LOCK_MILLISECONDS}", f"--exclude-schema={BESIDE}*"),
                f"--file={to}",
                f"--dbname={self._address(self.url)}",
            )
            return
        source = Path(self.url.database or "")
        if not source.is_file():
            raise ConfigurationError(f"there is no database at {source}")
        with _sqlite(source) as database, _sqlite(to) as copy:
            database.backup(copy)
            # One file, without a journal beside it.
            copy.execute("PRAGMA journal_mode=DELETE")

    def load(self, source: Path, now: datetime) -> str:
        """Put a copy in the database's place; return where what was there before is kept.

        Raises:
            ConfigurationError: It cannot be done; what was there before is there still.
        """
        if self.is_sqlite:
            return self._load_file(source, now)
        beside = f"{BESIDE}{now:%Y%m%d%H%M%S}"
        with self._connected() as connection:
            old, new = sql.Identifier("public"), sql.Identifier(beside)
            rename = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
            connection.execute(rename.format(old, new))
            try:
                connection.execute("CREATE SCHEMA public")
                self._restore(source, self.url)
            except BaseException:
                connection.execute("DROP SCHEMA IF EXISTS public CASCADE")
                connection.execute(rename.format(new, old))
                raise
        return f"the schema {beside} of the same database"

    @contextmanager
    def scratch(self, source: Path, folder: Path) -> Iterator[URL]:
        """Put a copy into a database of its own; yield its address; remove it afterwards.

        Raises:
            ConfigurationError: It cannot be done.
        """
        if self.is_sqlite:
            copy = folder / "scratch.sqlite"
            shutil.copyfile(source, copy)
            _check_file(copy)
            yield self.url.set(database=str(copy))
            return
        name = f"airlock_verify_{uuid.uuid4().hex[:12]}"
        with self._connected() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            try:
                url = self.url.set(database=name)
                self._restore(source, url)
                yield url
            finally:
                drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
                connection.execute(drop.format(sql.Identifier(name)))

    def _load_file(self, source: Path, now: datetime) -> str:
        target = Path(self.url.database or "")
        _check_file(source)
        beside = target.with_name(f"{target.name}.before-restore-{now:%Y%m%d%H%M%S}")
        incoming = target.with_name(f".{target.name}.incoming")
        shutil.copyfile(source, incoming)
        incoming.chmod(0o600)
        if target.exists():
            with _sqlite(target) as database:
                try:
                    # Takes the journal in, which works for the only one who has the file open.
                    database.execute("PRAGMA journal_mode=DELETE")
                except sqlite3.OperationalError as error:
                    incoming.unlink()
                    raise ConfigurationError(
                        f"{target} is in use: stop every gateway on it first"
                    ) from error
            target.rename(beside)
        incoming.rename(target)
        return str(beside)

    def _restore(self, source: Path, url: URL) -> None:
        self._run(
            *("pg_restore", "--single-transaction", "--exit-on-error"),
            *("--no-owner", "--no-privileges", f"--dbname={self._address(url)}", str(source)),
        )

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        try:
            with psycopg.connect(
                self._address(self.url), password=self.url.password, autocommit=True
            ) as connection:
                yield connection
        except psycopg.Error as error:
            raise ConfigurationError(f"PostgreSQL refuses: {error}") from error

    def _run(self, program: str, *words: str) -> None:
        found = shutil.which(program, path=str(self._tools) if self._tools else None)
        if found is None:
            raise ConfigurationError(
                f"{program} is not here: install PostgreSQL's client of the server's version or a "
                "newer one, or name its folder with --postgres-bin"
            )
        # Not on the command line, which anybody can list.
        environment = {**self._environment, "PGPASSWORD": str(self.url.password or "")}
        done = subprocess.run(
            [found, *words], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = " ".join(done.stderr.split())[:500] or f"status {done.returncode}"
            raise ConfigurationError(f"{program}: {_without_password(said, self.url)}")

    @staticmethod
    def _address(url: URL) -> str:
        plain = url.set(drivername="postgresql")._replace(password=None)
        return plain.render_as_string(hide_password=False)


def _without_password(text: str, url: URL) -> str:
    return text.replace(str(url.password), "***") if url.password else text


@contextmanager
def _sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        yield connection
    finally:
        connection.close()


def _check_file(path: Path) -> None:
    with _sqlite(path) as copy:
        try:
            found = copy.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.DatabaseError as error:
            raise ConfigurationError(f"{path} is no database: {error}") from error
    if found != ("ok",):
        raise ConfigurationError(f"{path} is damaged: {found}")
