"""The verbs that change access, on both databases, as a script would call them."""

import json

import pytest

from gateway.cli import VERBS, main, requested_verb


@pytest.fixture
def airlock(settings, monkeypatch, capsys):
    """Run a verb on a database of each kind; return what `--json` prints."""
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(settings.secret_file))
    if settings.database_url:
        monkeypatch.setenv("AIRLOCK_DATABASE_URL", settings.database_url)

    def run(*words: str, status: int = 0):
        assert main(["--home", str(settings.home), *words]) == status
        printed = capsys.readouterr()
        return json.loads(printed.out) if status == 0 and "--json" in words else printed

    return run


def test_from_a_person_to_a_key_and_back(airlock):
    tiers = {tier["name"] for tier in airlock("tiers", "list", "--json")}
    assert tiers == {"public", "researcher"}
    airlock("tiers", "add", "lab", "--description", "x", "--grantable", "--json")
    changed = airlock("tiers", "set", "lab", "--requests-per-minute", "7", "--json")
    assert changed["requests_per_minute"] == 7
    person = airlock("people", "add", "Ada", "--organisation", "x", "--tier", "lab", "--json")["id"]
    grant = airlock("grants", "create", person, "--domain", "bio", "--reason", "r", "--json")["id"]
    key = airlock("keys", "create", "--person", person, "--json")
    assert key["key"].startswith("airlock_key_")
    rotated = airlock("keys", "rotate", key["id"], "--json")
    assert rotated["id"] != key["id"]
    assert airlock("keys", "revoke", rotated["id"], "--json")["revoked_at"]
    assert airlock("grants", "revoke", grant, "--json")["revoked_by"] == "command line"
    assert airlock("people", "set", person, "--state", "suspended", "--json")["state"]
    assert len(airlock("keys", "list", "--person", person, "--json")) == 2
    assert key["id"] in airlock("keys", "list").out.replace("\n", "")
    assert airlock("keys", "create", "--admin", "--json")["key"].startswith("airlock_admin_")


def test_refusals_are_one_line_and_a_status(airlock):
    refused = airlock("grants", "create", "nobody", "--domain", "bio", "--reason", "r", status=2)
    assert refused.err == "error: There is no person 'nobody'.\n"
    wrong = airlock("grants", "create", "x", "--domain", "No Such", "--reason", "r", status=2)
    assert wrong.err.startswith("error: domain: ")
    assert airlock("keys", "revoke", "nope", status=2).err.count("\n") == 1


def test_migrate_says_what_it_would_do(airlock):
    airlock("migrate")
    assert "current" in airlock("migrate", "--dry-run").out


def test_only_the_named_verb_is_imported():
    assert requested_verb(["--home", "keys", "demo"]) == "demo"
    assert requested_verb(["nonsense"]) is None
    assert set(VERBS) >= {
        "demo", "serve", "keys", "grants", "checkpoints", "unlearn", "evaluate", "gate",
        "promote", "rollback", "engine",
    }  # fmt: skip
