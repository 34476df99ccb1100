"""Writes down the SQL of this very code, for the tests of the releases after it.

Run it when a release is made (docs/release-checklist.md):

    pytest tests/gateway/previous/record.py

It is no test, so that it is collected only when it is named.
"""

import anyio
import pytest
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.db import make_engine
from tests.gateway.conftest import make_settings, migrate, run_gateway
from tests.gateway.controlplane.workflow import Workflow
from tests.gateway.dataplane.batches.driving import create, ended, line
from tests.gateway.previous.statements import Recorded, write

SKIPPED = ("SAVEPOINT", "RELEASE", "ROLLBACK", "PRAGMA")
FEW = 3
"""Reads of one kind are worth that many calls; writes are all kept, since others rest on them."""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_record(request, monkeypatch, tmp_path, kind):
    settings = make_settings(request, tmp_path, kind)
    migrate(settings)
    statements: dict[str, int] = {}
    calls: list[tuple[int, list]] = []
    times: dict[int, int] = {}

    def keep(conn, cursor, statement, parameters, context, executemany):
        if statement.lstrip().upper().startswith(SKIPPED):
            return
        at = statements.setdefault(statement, len(statements))
        times[at] = times.get(at, 0) + 1
        if not statement.lstrip().upper().startswith("SELECT") or times[at] <= FEW:
            calls.append((at, list(parameters) if executemany else [parameters]))

    def listened(url: URL) -> AsyncEngine:
        engine = make_engine(url)
        event.listen(engine.sync_engine, "after_cursor_execute", keep)
        return engine

    monkeypatch.setattr("gateway.db.make_engine", listened)
    with run_gateway(settings) as fresh:
        use(fresh)
        revision = anyio.run(fresh.gateway.database.revisions)[0]
    print(write(Recorded(revision, list(statements), calls), kind))


def use(fresh) -> None:
    """Do one of everything."""
    workflow = Workflow(fresh)
    workflow.verify()
    grant = workflow.to_grant()["grants"][0]["id"]
    assert workflow.base() == 200
    assert fresh.chat("public").status_code == 200
    assert fresh.chat("public", "smollm2:base").status_code == 403
    ended(fresh, "public", create(fresh, "public", [line(0), line(1)]))
    closure = workflow.must("dan", "POST", "/closures", domain="capitals", reason="r")["id"]
    lift = workflow.must("dan", "POST", f"/closures/{closure}/lift", reason="r")["id"]
    workflow.must("app", "POST", f"/openings/{lift}/confirm")
    workflow.must("dan", "POST", f"/grants/{grant}/suspend", reason="r")
    workflow.must("rex", "POST", f"/grants/{grant}/resume")
    person = fresh.people["public"]
    key = workflow.admin("POST", "/keys", person_id=person).json()["id"]
    workflow.admin("POST", f"/keys/{key}/rotate", overlap_hours=1)
    workflow.admin("POST", f"/keys/{key}/revoke")
    workflow.admin("POST", f"/grants/{fresh.grants['researcher']}/revoke")
    fresh.change_tier("researcher", requests_per_minute=999_999)
    fresh.admin("POST", "/people", json=NEW, headers={"idempotency-key": "k" * 40})
    fresh.admin("POST", "/identities", json={**IDENTITY, "person_id": person})
    for path in ("/people", "/keys", "/grants", "/aliases", "/promotions", "/audit-events"):
        fresh.admin("GET", path)


NEW = {"name": "n", "organisation": "o", "tier": "public"}
IDENTITY = {"issuer": "https://idp.example.org", "subject": "s"}
