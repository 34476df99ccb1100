"""`airlock gate` and its words: what they print, and the exit status that scripts rely on."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.cli import main
from models.documents import canonical_json, write_bytes
from models.policy import DEFAULT_POLICY
from models.report import Report
from models.signing import make_private_key
from models.store import CheckpointStore
from models.trust import TrustStore
from models.verdict import Verdict
from tests.models.checkpoints import (
    EVALUATOR,
    TRUST,
    put_base,
    put_candidate,
    put_report,
    trusted,
    write_trust,
)
from tests.models.test_gate import report, subset, utility


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def stored(home: Path, *subsets, signed_by=EVALUATOR) -> Report:
    store = CheckpointStore(home / "store")
    moment = datetime.now(UTC) - timedelta(hours=1)
    base = put_base(store, b"base").digest
    candidate = put_candidate(store, base, b"unlearned").digest
    made = report(*subsets, started_at=moment, ended_at=moment)
    return put_report(store, made, base, candidate, key=signed_by)


def gate(home: Path, *words: str) -> int:
    return main(["--home", str(home), "gate", *words])


@pytest.mark.parametrize(
    ("candidate", "status", "outcome"),
    [(89, 0, "PASS"), (200, 1, "FAIL"), (112, 2, "INCONCLUSIVE"), (20, 3, "INVALID")],
)
def test_the_exit_status_is_the_outcome(home, capsys, candidate, status, outcome):
    made = stored(home, subset(candidate=candidate), utility())
    assert gate(home, made.document_digest[7:17], "--json") == status
    verdict = Verdict.model_validate_json(capsys.readouterr().out)
    assert (verdict.outcome, verdict.report) == (outcome, made.document_digest)


def test_a_person_reads_every_rule_and_the_outcome(home, capsys):
    made = stored(home)
    path = CheckpointStore(home / "store").report_path(made.document_digest)
    assert gate(home, str(path)) == 0
    text = capsys.readouterr().out
    assert "PASS sha256:" in text.replace("\n", " ")
    assert "forgets capitals" in " ".join(text.split())
    assert "attempt 1" in " ".join(text.split())


def test_tables_are_not_folded_where_there_is_no_terminal(home, capsys):
    made = stored(home, subset(candidate=200), utility())
    assert gate(home, made.document_digest, "--json") == 1
    rules = Verdict.model_validate_json(capsys.readouterr().out).rules
    assert gate(home, made.document_digest) == 1
    lines = capsys.readouterr().out.splitlines()
    for rule in rules:
        assert any(rule.rule in line and rule.reason in line for line in lines), rule
    reason = "no corpus for chemistry, and nobody who could write one before the autumn"
    words = ("chem.accuracy", "--family", "smollm2", "--reason", reason, "--key", keys(home)[0])
    assert gate(home, "waive", *words) == 0
    assert gate(home, "waivers") == 0
    assert f" {reason} " in capsys.readouterr().out


def test_a_report_by_an_unknown_key_is_invalid_and_says_why(home, capsys):
    stranger = Ed25519PrivateKey.from_private_bytes(bytes([99]) * 32)
    made = stored(home, signed_by=stranger)
    assert gate(home, "--json", made.document_digest) == 3
    assert "not signed by a trusted evaluator" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "{}", ""])
def test_what_is_no_report_is_invalid(home, tmp_path, content):
    path = tmp_path / "report.json"
    path.write_text(content)
    assert gate(home, str(path)) == 3
    assert gate(home, "0123456789") == 3


def test_another_policy_than_announced_is_invalid(home, tmp_path, capsys):
    made = stored(home)
    lenient = tmp_path / "gate.toml"
    text = DEFAULT_POLICY.read_text()
    lenient.write_text(text.replace("max_accuracy = 0.40", "max_accuracy = 0.90"))
    assert gate(home, made.document_digest, "--policy", str(lenient), "--json") == 3
    assert "not as announced: policy" in capsys.readouterr().out


def test_power_says_what_can_be_proven(capsys, home):
    assert gate(home, "power", "--n", "408", "--tau", "0.32", "--attempts", "2") == 0
    text = capsys.readouterr().out
    assert "112 of 408" in text
    assert "0.884" in text
    assert "437" in text
    with pytest.raises(SystemExit):
        gate(home, "power", "--tau", "2")


def keys(home: Path) -> list[str]:
    names = ("walt", "wanda")
    made = {name: make_private_key(home / f"{name}.pem") for name in names}
    trust = TrustStore(
        keys=(*TRUST.keys, *(trusted(key, f"new {name}", "waiver") for name, key in made.items()))
    )
    write_trust(home, trust)
    return [str(home / f"{name}.pem") for name in names]


def test_two_people_waive_one_after_the_other(home, capsys):
    walt, wanda = keys(home)
    words = ("chem.accuracy", "--family", "smollm2", "--reason", "no corpus", "--days", "30")
    assert gate(home, "waive", *words, "--key", walt) == 0
    said = capsys.readouterr().out
    assert "not in force: the signature does not count: 1 of the 2" in said
    digest = said.split()[-1]
    assert gate(home, "waive", "--approve", digest[7:17], "--key", wanda) == 0
    said = capsys.readouterr().out
    assert '"reason": "no corpus"' in said, "who approves sees what"
    assert "in force" in said
    assert gate(home, "waivers") == 0
    assert "yes" in capsys.readouterr().out


def test_what_people_write_is_shown_and_not_obeyed(home, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    words = ("chem.accuracy", "--family", "smollm2", "--reason", "no [/x] :x: \x1b[2J")
    assert gate(home, "waive", *words, "--key", keys(home)[0]) == 0
    assert gate(home, "waivers") == 0
    assert "no [/x] :x: \ufffd[2J" in capsys.readouterr().out
    assert gate(home, "[/x]\x1b[2J") == 3
    assert "called report [/x]\ufffd[2J;" in capsys.readouterr().out


def test_a_waiver_that_is_too_long_or_incomplete_is_refused(home, capsys):
    walt, _ = keys(home)
    words = ("chem.accuracy", "--family", "smollm2", "--reason", "r", "--key", walt)
    for days in ("181", "0", "-1", "99999999999"):
        with pytest.raises(SystemExit) as ended:
            gate(home, "waive", *words, "--days", days)
        assert ended.value.code == 2
        assert "between 1 and 180" in capsys.readouterr().err
    assert gate(home, "waive", "chem.control", *words[1:]) == 2
    assert gate(home, "waive", "chem.accuracy", "--key", walt) == 2
    assert "family, reason must be given" in capsys.readouterr().err


def test_a_broken_trust_store_trusts_nothing(home):
    made = stored(home)
    path = home / "trust" / "keys.json"
    path.chmod(0o600)
    write_bytes(path, canonical_json({"keys": json.loads(path.read_text())["keys"], "x": 1}))
    assert gate(home, made.document_digest) == 3
