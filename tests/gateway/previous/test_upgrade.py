"""A release and the one before it share a database for an hour, and do not break each other.

What the release before asked of the database was written down (`record.py`). The schema of today
must take every statement of it: writes with the columns that it knew, reads of what it read.
"""

import ast
import re
from pathlib import Path

import anyio
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from gateway.db import Database, database_url
from gateway.errors import ConfigurationError
from gateway.settings import Settings
from gateway.tables import Base
from tests.gateway.previous.statements import FOLDER, Recorded, path_of, read

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = ROOT / "migrations" / "versions"
FIRST_RULED = "0010"
"""The rules came after 0009; what is older was migrated before anybody had two versions."""
RECORDED = sorted(FOLDER.glob("*-*.json"))


def migrate(settings: Settings) -> Database:
    database = Database(settings)
    anyio.run(database.migrate)
    anyio.run(database.close)
    return database


@pytest.fixture
def url(settings):
    """The database at the newest schema, for a driver that takes what was written down."""
    migrate(settings)
    return sync_url(settings)


def kind_of(settings: Settings) -> str:
    return "sqlite" if settings.is_embedded else "postgresql"


def latest(kind: str) -> Path:
    return [path for path in RECORDED if path.stem.endswith(kind)][-1]


def refusals(url, recorded: Recorded) -> dict[str, str]:
    """What a database refuses of that, and why."""
    engine, refused = create_engine(url), {}
    with engine.connect() as connection:
        for at, values in recorded.calls:
            statement = recorded.statements[at]
            for each in values:
                given = tuple(each) if isinstance(each, list) else each
                try:
                    with connection.begin():
                        result = connection.exec_driver_sql(statement, given)
                        if result.returns_rows:
                            result.fetchall()
                except DBAPIError as error:
                    refused.setdefault(statement, str(error).splitlines()[0])
    engine.dispose()
    return refused


def test_todays_schema_takes_all_that_the_release_before_asks(settings, url):
    assert refusals(url, read(latest(kind_of(settings)))) == {}


def test_what_was_written_down_is_most_of_what_there_is(settings):
    recorded = read(latest(kind_of(settings)))
    text_of_all = "\n".join(recorded.statements)
    written = set(re.findall(r"^INSERT INTO (\w+)", text_of_all, re.MULTILINE))
    mentioned = set(re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE) (\w+)", text_of_all))
    assert {"people", "api_keys", "grants", "audit_entries", "applications"} <= written
    known_then = set(re.findall(r"\w+", text_of_all))
    tables = {name for name in Base.metadata.tables if name in known_then}
    assert tables <= mentioned
    assert len(recorded.statements) > 100
    assert all(path_of(recorded.revision, kind).exists() for kind in ("sqlite", "postgresql"))


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE evidence RENAME COLUMN source TO origin",
        "ALTER TABLE api_keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'x' CHECK (scope <> 'x')",
    ],
)
def test_what_the_release_before_stumbles_over_is_found(settings, url, change):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(change))
    engine.dispose()
    assert refusals(url, read(latest(kind_of(settings))))


def test_a_gateway_starts_on_a_newer_schema_only_when_it_is_told(settings):
    if settings.is_embedded:
        settings = settings.model_copy(
            update={"database_url": f"sqlite+aiosqlite:///{settings.home}/x"}
        )
    migrate(settings)

    async def main(chosen: Settings) -> None:
        async with Database(chosen) as database:
            await database.prepare(chosen)

    anyio.run(main, settings)
    engine = create_engine(sync_url(settings))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="start the version that migrated it"):
        anyio.run(main, settings)
    anyio.run(main, settings.model_copy(update={"allow_newer_schema": True}))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
    with pytest.raises(ConfigurationError, match="run `airlock migrate`"):
        anyio.run(main, settings.model_copy(update={"allow_newer_schema": True}))


def sync_url(settings: Settings):
    url = database_url(settings)
    return url.set(drivername="sqlite") if url.get_backend_name() == "sqlite" else url


CONTRACTING = {"drop_column", "drop_table", "rename_table"}
IN_SQL = re.compile(r"\b(DROP (TABLE|COLUMN)|RENAME (TO|COLUMN)|SET NOT NULL)\b", re.IGNORECASE)
CONTRACT = "CONTRACT"
"""A migration that must contract says so by this constant: since when nothing uses what goes."""


def contractions(source: str) -> list[str]:
    """What in a migration's way up the release before could stumble over."""
    tree = ast.parse(source)
    if any(
        isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == CONTRACT
        for node in tree.body
    ):
        return []
    found = []
    for node in ast.walk(ast.Module([f for f in tree.body if not is_downgrade(f)], [])):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if IN_SQL.search(node.value):
                found.append(f"line {node.lineno}: SQL that takes away")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {word.arg: word.value for word in node.keywords if word.arg}
            if node.func.attr in CONTRACTING:
                found.append(f"line {node.lineno}: {node.func.attr}")
            if node.func.attr == "alter_column" and (
                "new_column_name" in given or "type_" in given or is_false(given.get("nullable"))
            ):
                found.append(f"line {node.lineno}: alter_column")
            if node.func.attr == "add_column":
                found += [
                    f"line {column.lineno}: NOT NULL without a default"
                    for column in ast.walk(node)
                    if isinstance(column, ast.Call)
                    and getattr(column.func, "attr", "") == "Column"
                    and any(w.arg == "nullable" and is_false(w.value) for w in column.keywords)
                    and not any(w.arg == "server_default" for w in column.keywords)
                ]
    return found


def is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def is_downgrade(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and "downgrade" in node.name


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("*.py")), ids=lambda path: path.stem)
def test_a_migration_only_adds(path):
    if path.stem[:4] >= FIRST_RULED:
        assert contractions(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        'op.drop_column("people", "name")',
        'op.drop_table("people")',
        'op.rename_table("people", "persons")',
        'op.alter_column("people", "name", new_column_name="called")',
        'op.alter_column("people", "name", nullable=False)',
        'op.add_column("people", sa.Column("x", sa.Integer(), nullable=False))',
        'op.execute("ALTER TABLE people DROP COLUMN name")',
    ],
)
def test_what_takes_away_is_found(line):
    assert contractions(f"def upgrade():\n    {line}\n")
    assert not contractions(f"def downgrade():\n    {line}\n")
    assert not contractions(f'CONTRACT = "0.3"\ndef upgrade():\n    {line}\n')


@pytest.mark.parametrize(
    "line",
    [
        'op.add_column("people", sa.Column("x", sa.Integer(), nullable=True))',
        'op.add_column("p", sa.Column("x", sa.Integer(), nullable=False, server_default="1"))',
        'op.create_table("x", sa.Column("id", sa.Integer(), nullable=False))',
    ],
)
def test_what_adds_is_fine(line):
    assert not contractions(f"def upgrade():\n    {line}\n")
