"""docs/auditors.md: every command line on it is run as it is written, and answers."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.audit.log_key import log_signer
from gateway.cli import main
from gateway.cli.tables import in_transaction
from gateway.identity.secret import load_secret
from gateway.tables import AuditCheckpoint
from models.trust import trust_path
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.controlplane.workflow import Workflow
from tests.gateway.dataplane.test_audit import ASK, entries
from tests.replicas import ROOT
from tests.servers import wait_for
from tests.two_people import TwoPeople

PAGE = (ROOT / "docs/auditors.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FUNCTIONS = next(block for block in BLOCKS if "()" in block)
OPERATORS, VERIFY = BLOCKS[0].splitlines(), BLOCKS[-1].splitlines()
QUESTIONS = re.findall(r"`((?:ask|get) [^`]+)`", PAGE)
EMPTY = {
    "ask /revocations",
    "ask /contents/openings",
    "ask /contents/destructions",
    'ask "/applications?state=draft"',
}
"""Questions to which there is nothing to say in this test."""


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("auditors")
    with run_gateway(make_settings(request, home, "postgresql")) as made:
        yield made


@pytest.fixture(scope="module")
def desk(running, tmp_path_factory) -> Path:
    """A folder with a `curl` to which `gateway.example` is the test's gateway."""
    if shutil.which("curl") is None:
        pytest.skip("CURL IS MISSING: the commands of docs/auditors.md are NOT tested; install it")
    folder = tmp_path_factory.mktemp("desk")
    tools = folder / "bin"
    tools.mkdir()
    there = f'for w; do set -- "$@" "${{w/https:\\/\\/gateway.example/{running.url}}}"; shift; done'
    (tools / "curl").write_text(f'#!/bin/bash\n{there}\nexec {shutil.which("curl")} "$@"\n')
    (tools / "curl").chmod(0o755)
    return folder


def run(desk: Path, command: str) -> str:
    """Run a question, with the page's functions."""
    path = {"PATH": f"{desk / 'bin'}:{os.environ['PATH']}"}
    script = f"set -euo pipefail\n{FUNCTIONS}\n{command}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=desk, env=path, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def airlock(desk, monkeypatch, capsys):
    """Run a command at the desk."""

    def call(command: str, **environment: str) -> str:
        words = shlex.split(command, comments=True)
        assert words[0] == "airlock"
        with monkeypatch.context() as there:
            there.chdir(desk)
            for name, value in environment.items():
                there.setenv(name, value)
            capsys.readouterr()
            assert main(words[1:]) == 0, (command, capsys.readouterr().err)
        return capsys.readouterr().out

    return call


def as_operator(running) -> dict[str, str]:
    settings = running.settings
    return {
        "AIRLOCK_HOME": str(settings.home),
        "AIRLOCK_SECRET_FILE": str(settings.secret_file),
        "AIRLOCK_DATABASE_URL": settings.database_url,
    }


@pytest.fixture(scope="module")
def names(running) -> dict[str, str]:
    """What the page's words in capitals stand for: a granted person, an open change, a request."""
    workflow = Workflow(running)
    workflow.verify()
    workflow.to_grant()
    given = {"domain": "rivers", "reason": "r"}
    closure = workflow.must("dan", "POST", "/closures", **given)["id"]
    workflow.must("app", "POST", f"/closures/{closure}/lift", reason="r")
    people = TwoPeople(running.url, running.admin_key)
    change = people.call(
        people.keys["proposer"],
        "POST",
        "/tier-changes?dry_run=false",
        {"tier": "researcher", "change": {"priority": 100}, "reason": "r"},
    )["change"]
    running.wait_until_seen()
    answer = running.post("ada", ASK)
    assert answer.status_code == 200, answer.text
    request_id = answer.headers["x-request-id"]
    entries(running, request_id, 2)
    person = workflow.people["ada"]
    return {
        "PERSON": person,
        "FAMILY": "smollm2",
        "CHANGE": change["id"],
        "REQUEST": request_id,
        "ID": person,
    }


def filled(command: str, names: dict[str, str]) -> str:
    return re.sub(r"\b([A-Z]{2,})\b", lambda word: names.get(word[1], word[1]), command)


def test_the_page_asks_something():
    assert len(QUESTIONS) >= 18
    assert len(OPERATORS) == 3
    assert len(VERIFY) == 2


def test_every_command_on_the_page_answers(running, desk, names, airlock):
    key = make_auditor(running, airlock)
    (desk / "audit.key").write_text(key)
    for question in QUESTIONS:
        said = run(desk, filled(question, names))
        if question.endswith("receipt.json"):
            continue
        found = json.loads(said)
        assert found or question in EMPTY, f"nothing was answered to: {question}"
        if "/explain" in question:
            assert found["effect"] == "allow"
        if "/effects" in question:
            assert [each["field"] for each in found["differences"]] == ["priority"]
    verify(running, desk, airlock)


def make_auditor(running, airlock) -> str:
    """Make the auditor as an administrator does; return the key that is shown once."""
    airlock(OPERATORS[0], **as_operator(running))
    rows = running.admin("GET", "/people?limit=1000").json()
    (person,) = (row["id"] for row in rows if row["name"] == "Ulla Auditor")
    airlock(filled(OPERATORS[1], {"PERSON": person}), **as_operator(running))
    shown = airlock(filled(OPERATORS[2], {"PERSON": person}), **as_operator(running))
    found = re.search(r"airlock_workflow_\w+", re.sub(r"\s", "", shown))
    assert found is not None, shown
    return found[0]


def verify(running, desk: Path, airlock) -> None:
    """On a machine without the gateway's secret and database."""

    async def newest(session) -> str | None:
        query = select(AuditCheckpoint.note).order_by(AuditCheckpoint.size.desc())
        return await session.scalar(query.limit(1))

    signer = log_signer(running.settings, load_secret(running.settings))
    (desk / "log.pub").write_text(str(signer.verifier))
    (desk / "witness.state").write_text(wait_for(lambda: in_transaction(running.settings, newest)))
    shutil.copy(trust_path(running.settings.home), desk / "keys.json")
    (export,) = re.findall(r"`(airlock audit export [^`]+)`", PAGE)
    airlock(export, **as_operator(running))
    said = "".join(airlock(command) for command in VERIFY)
    assert "intact" in said
    assert "it ended with ok" in said
