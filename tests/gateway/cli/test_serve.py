"""`airlock serve`: one gateway on a SQLite file, any number on PostgreSQL."""

from sqlalchemy import make_url

from gateway.cli import main
from gateway.db import database_url, sole_gateway
from gateway.settings import Settings


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
