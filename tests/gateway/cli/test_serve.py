"""`airlock serve`: one gateway on a SQLite file, any number on PostgreSQL."""

import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from gateway.cli import main, serve
from gateway.cli.serve import OTHER_FILES, allow_files
from gateway.db import database_url, sole_gateway
from gateway.settings import Settings
from tests.servers import free_port


@pytest.fixture(autouse=True)
def own_logs(monkeypatch):
    """Leave the logs of this process alone: the verb would send them to what `capsys` reads."""
    monkeypatch.setattr(serve, "set_up_logs", lambda _: None)


def test_a_second_gateway_on_a_sqlite_file_does_not_start(tmp_path, capsys):
    with sole_gateway(database_url(Settings(home=tmp_path))):
        assert main(["--home", str(tmp_path), "serve", "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: another gateway serves {tmp_path.resolve()}/airlock.db")
    assert "AIRLOCK_DATABASE_URL" in said
    assert said.count("\n") == 1


def test_the_next_one_starts_once_it_has_ended(tmp_path):
    for _ in range(2):
        with sole_gateway(database_url(Settings(home=tmp_path))):
            pass


def test_any_number_serves_a_postgresql():
    url = make_url("postgresql+psycopg://airlock@db/airlock")
    with sole_gateway(url), sole_gateway(url):
        pass


@pytest.fixture
def hard_limit() -> Iterator[int]:
    """Have the usual soft limit of open files; yield the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_as_many_files_may_be_open_as_requests_take(hard_limit):
    allow_files(500)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1000 + OTHER_FILES, hard_limit)
    allow_files(1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1000 + OTHER_FILES, "it only grows"
    allow_files(10**9)
    most = 2 * 10**9 + OTHER_FILES if hard_limit == resource.RLIM_INFINITY else hard_limit
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard_limit)


@pytest.mark.parametrize(
    "words", [("serve", "--port", "0"), ("restore", "--close"), ("migrate",)], ids=lambda w: w[0]
)
def test_a_database_that_does_not_answer_is_said_in_one_line(tmp_path, monkeypatch, capsys, words):
    (tmp_path / "secret").write_text("s" * 32)
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(tmp_path / "secret"))
    address = f"postgresql+psycopg://a@127.0.0.1:{free_port()}/a"
    monkeypatch.setenv("AIRLOCK_DATABASE_URL", address)
    assert main(["--home", str(tmp_path), *words]) == 2
    said = capsys.readouterr().err
    assert said == "error: The database did not answer; try again in a moment.\n"


def test_a_schema_that_is_not_the_codes_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "secret").write_text("s" * 32)
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(tmp_path / "secret"))
    # A file that is shared on purpose is migrated by hand, as PostgreSQL is.
    monkeypatch.setenv("AIRLOCK_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/other.db")
    assert main(["--home", str(tmp_path), "serve", "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the database has schema (none), the code ")
    assert "airlock migrate" in said
    assert said.count("\n") == 1
    assert main(["--home", str(tmp_path), "migrate", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("would go from schema (none) to ")


def test_a_setting_that_there_is_not_is_said_as_that(tmp_path, monkeypatch, capsys):
    (tmp_path / "airlock.toml").write_text('hots = "0.0.0.0"')
    monkeypatch.setenv("AIRLOCK_CONFIG_FILE", str(tmp_path / "airlock.toml"))
    assert main(["--home", str(tmp_path), "serve", "--port", "0"]) == 2
    assert capsys.readouterr().err == "error: hots: there is no such name\n"
    assert main(["--home", str(tmp_path), "config", "check"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("problem: AIRLOCK_HOTS: there is no such setting\n")
    assert said.endswith("1 problem, 0 warnings\n")


def test_a_database_whose_address_is_none_is_said_without_its_password(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("AIRLOCK_DATABASE_URL", "postgresql+psycopg://a:pass@word@h:xx/d")
    assert main(["--home", str(tmp_path), "serve", "--port", "0"]) == 2
    assert capsys.readouterr().err == "error: AIRLOCK_DATABASE_URL is no URL\n"


DYING = """
import sys
from gateway.cli import main
from gateway.controlplane.census import Census

async def run(self):
    raise RuntimeError("a defect")

Census.run = run
sys.exit(main(["--home", sys.argv[1], "serve", "--port", "0"]))
"""


def test_a_gateway_whose_tasks_have_ended_ends(tmp_path):
    """It would refuse everything from then on, and nothing would start it anew."""
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "a defect" in done.stderr + done.stdout
    assert done.returncode == serve.FAILURE
