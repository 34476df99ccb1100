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


def test_an_application_takes_everyones_own_key(airlock, tmp_path):
    """As far as evidence is not asked for; the whole way is walked over HTTP."""
    people, keys = {}, {}
    for name in ("ada", "ivy"):
        person = airlock("people", "add", name, "--organisation", name, "--json")["id"]
        key = airlock("keys", "create", "--person", person, "--workflow", "--json")["key"]
        people[name], keys[name] = person, tmp_path / f"{name}.key"
        keys[name].write_text(key + "\n")
    for row in airlock("organisations", "list", "--json"):
        changed = airlock("organisations", "set", row["id"], "--state", "verified", "--json")
        assert changed["state"] == "verified"
    roles = airlock("people", "roles", people["ivy"], "identity_reviewer", "--json")["roles"]
    assert roles == ["identity_reviewer"]
    content = ("--domain", "bio", "--purpose", "x", "--project", "p", "--oversight", "IRB 7")

    def step(who: str, *words: str, status: int = 0):
        key = ("--key-file", str(keys[who]), "--json")
        return airlock("applications", *words, *key, status=status)

    made = step("ada", "create", *content)
    made = step("ada", "edit", made["id"], *content, "--digest", made["digest"])
    named = (made["id"], "--digest", made["digest"])
    assert step("ada", "submit", *named)["state"] == "submitted"
    assert "Refused" in step("ada", "take-up", *named, status=2).err
    assert step("ivy", "take-up", *named)["state"] == "identity_review"
    word = ("--decision", "pass", "--rationale", "r", "--no-conflict")
    assert "not verified for bio" in step("ivy", "judge", *named, *word, status=2).err
    assert "takes no" in step("ada", "grant", *named, "--terms", made["digest"], status=2).err
    assert step("ada", "withdraw", *named)["state"] == "withdrawn"
    assert len(airlock("applications", "list", "--json")) == 1
    assert airlock("applications", "show", made["id"], "--json")["version"] == 2
    keys["ada"] = tmp_path / "none"
    assert "key file" in step("ada", "create", *content, status=2).err
    assert "unknown_model" in airlock("explain", people["ada"], "no", status=1).out
    assert (
        airlock("explain", "nobody", "no", status=2).err == "error: There is no person 'nobody'.\n"
    )


def test_identities_are_bound_and_unbound(airlock, monkeypatch):
    issuer = {"name": "lab", "issuer": "https://sso.example"}
    monkeypatch.setenv("AIRLOCK_ISSUERS", json.dumps([issuer]))
    person = airlock("people", "add", "Ada", "--organisation", "x", "--json")["id"]
    bind = ("identities", "bind", "lab")
    whose = ("--person", person, "--json")
    login = airlock(*bind, "ada", *whose)
    assert (login["issuer"], login["domains"]) == ("https://sso.example", None)
    assert airlock(*bind, "job", "--domain", "bio", *whose)["domains"] == ["bio"]
    assert airlock(*bind, "narrow", "--service", *whose)["domains"] == []
    assert "bound already" in airlock(*bind, "ada", *whose, status=2).err
    assert "no 'other'" in airlock("identities", "bind", "other", "x", *whose, status=2).err
    airlock("identities", "unbind", login["id"])
    airlock("identities", "log-out", person)
    left = {row["subject"] for row in airlock("identities", "list", *whose)}
    assert left == {"job", "narrow"}


def test_the_first_administrator_is_made_once(airlock):
    assert len(airlock("bootstrap").out.strip()) == 32
    assert airlock("bootstrap", "--key").out.startswith("airlock_admin_")
    for words in (("bootstrap",), ("bootstrap", "--key")):
        assert "administrator already" in airlock(*words, status=2).err


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
