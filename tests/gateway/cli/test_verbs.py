"""The verbs that change access, on both databases, as a script would call them."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from gateway.cli import VERBS, main, requested_verb
from gateway.cli.tables import in_transaction
from gateway.controlplane.engines import engine_cipher, list_engines
from gateway.identity.secret import load_secret
from gateway.notices.keys import notice_keys
from gateway.notices.recipients import institution_code
from gateway.tables import InstitutionMail, Promotion


@pytest.fixture
def airlock(settings, monkeypatch, capsys):
    """Run a verb on a database of each kind; return what `--json` prints."""
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(settings.secret_file))
    monkeypatch.setenv("AIRLOCK_DIRECT_GRANTS", "true")
    if settings.database_url:
        monkeypatch.setenv("AIRLOCK_DATABASE_URL", settings.database_url)

    def run(*words: str, status: int = 0):
        assert main(["--home", str(settings.home), *words]) == status
        printed = capsys.readouterr()
        return json.loads(printed.out) if status == 0 and "--json" in words else printed

    return run


def test_from_a_person_to_a_key_and_back(airlock):
    tiers = {tier["name"] for tier in airlock("tiers", "list", "--json")}
    assert tiers == {"operator", "public", "researcher"}
    person = airlock(
        "people", "add", "Ada", "--organisation", "x", "--tier", "researcher", "--json"
    )["id"]
    grant = airlock("grants", "create", person, "--domain", "bio", "--reason", "r", "--json")["id"]
    key = airlock("keys", "create", "--person", person, "--json")
    assert key["key"].startswith("airlock_key_")
    rotated = airlock("keys", "rotate", key["id"], "--json")
    assert rotated["id"] != key["id"]
    assert airlock("keys", "revoke", rotated["id"], "--json")["revoked_at"]
    assert airlock("grants", "revoke", grant, "--json")["revoked_by"] == "command line"
    assert airlock("people", "set", person, "--state", "suspended", "--json")["state"]
    moved = airlock("people", "set", person, "--organisation", "y", "--name", "Eve", "--json")
    assert (moved["organisation"], moved["name"], moved["state"]) == ("y", "Eve", "suspended")
    assert len(airlock("keys", "list", "--person", person, "--json")) == 2
    assert key["id"] in airlock("keys", "list").out.replace("\n", "")
    assert airlock("keys", "create", "--admin", "--json")["key"].startswith("airlock_admin_")


def test_a_key_is_narrowed_by_words(airlock):
    person = airlock("people", "add", "Ada", "--organisation", "x", "--json")["id"]
    words = ("keys", "create", "--person", person, "--endpoint", "/v1/responses", "--no-domains")
    words += ("--address", "10.0.0.0/8", "--address", "2001:db8::/32", "--tokens-per-day", "9")
    made = airlock(*words, "--max-concurrent", "2", "--json")
    assert made["endpoints"] == ["/v1/responses"]
    assert made["domains"] == []
    assert made["addresses"] == ["10.0.0.0/8", "2001:db8::/32"]
    assert (made["tokens_per_day"], made["max_concurrent"]) == (9, 2)
    assert made["requests_per_minute"] is made["scopes"] is made["expires_at"] is None
    wrong = airlock("keys", "create", "--person", person, "--address", "10.0.0.1/8", status=2)
    assert "addresses" in wrong.err
    owned = airlock("keys", "create", "--person", person, "--domain", "bio", status=2)
    assert "no grant for bio" in owned.err
    reviews = airlock("keys", "create", "--person", person, "--workflow", "--json")
    assert reviews["proven_by"] == "terminal"
    days = ("keys", "create", "--admin", "--days", "30", "--scope", "admin:read", "--json")
    assert airlock(*days)["scopes"] == ["admin:read"]
    late = airlock("keys", "rotate", made["id"], "--overlap-hours", "169", status=2)
    assert "168" in late.err
    never = airlock("keys", "rotate", made["id"], "--overlap-hours", "nan", status=2)
    assert never.err.startswith("error: overlap_hours: ")
    assert airlock("people", "list", "--offset", str(2**31 - 1), "--json") == []


def test_a_tier_takes_two_peoples_keys(airlock, tmp_path):
    keys = {}
    for name, role in (("ann", "administrator"), ("app", "approver")):
        person = airlock("people", "add", name, "--organisation", "x", "--json")["id"]
        airlock("people", "roles", person, role, "--json")
        keys[name] = tmp_path / f"{name}.key"
        made = airlock("keys", "create", "--person", person, "--workflow", "--json")
        keys[name].write_text(made["key"])
    for row in airlock("organisations", "list", "--json"):
        airlock("organisations", "set", row["id"], "--state", "verified", "--json")
    lab = ("tiers", "propose", "lab", "--grantable", "--reason", "r", "--step-up", "600,mfa")
    lab += ("--verify", "identity=dac,system", "--verify", "oversight=so")
    tried = airlock(*lab, "--json")
    assert tried["change"] is None
    assert tried["effects"]["takes_two"]
    assert "this was a dry run" in airlock(*lab).out
    assert "takes two people" in airlock(*lab, "--submit", status=2).err
    change = airlock(*lab, "--submit", "--key-file", str(keys["ann"]), "--json")["change"]
    assert change["terms"]["step_up"] == {"acr": ["mfa"], "max_age": 600}
    assert change["id"] in {row["id"] for row in airlock("tiers", "changes", "--json")}
    assert "takes two" in airlock("tiers", "diff", change["id"]).out
    word = ("tiers", "approve", change["id"], "--digest", change["digest"], "--key-file")
    assert "two people" in airlock(*word, str(keys["ann"]), status=2).err
    assert airlock(*word, str(keys["app"]), "--json")["version"] == 1
    quieter = ("tiers", "propose", "lab", "--requests-per-minute", "7", "--reason", "r")
    assert airlock(*quieter, "--submit", "--json")["change"]["version"] == 2
    history = airlock("tiers", "history", "lab", "--json")
    assert [row["version"] for row in history] == [2, 1]
    looser = ("tiers", "propose", "lab", "--step-up", "no", "--reason", "r", "--submit")
    again = airlock(*looser, "--key-file", str(keys["ann"]), "--json")["change"]
    assert airlock("tiers", "withdraw", again["id"], "--json")["withdrawn_by"] == "command line"


def test_the_whole_way_to_a_grant_and_its_end_on_the_command_line(airlock, tmp_path):
    roles = {
        "ada": [], "ivy": ["identity_reviewer"], "dan": ["domain_reviewer:bio"], "app": ["approver"]
    }  # fmt: skip
    people, keys = {}, {}
    for name, held in roles.items():
        lab = "Lab" if name == "ada" else "Board"
        made = airlock(
            "people", "add", name, "--organisation", lab, "--tier", "researcher", "--json"
        )
        people[name], keys[name] = made["id"], str(tmp_path / f"{name}.key")
        airlock("people", "roles", made["id"], *held, "--json")
        key = airlock("keys", "create", "--person", made["id"], "--workflow", "--json")
        (tmp_path / f"{name}.key").write_text(key["key"])
    organisations = {row["name"]: row["id"] for row in airlock("organisations", "list", "--json")}
    for organisation in organisations.values():
        airlock("organisations", "set", organisation, "--state", "verified", "--json")

    def by(who: str, *words: str, status: int = 0):
        return airlock(*words, "--key-file", keys[who], "--json", status=status)

    for kind, domain, asserted in (
        ("federation", (), "system"),
        ("training", ("--domain", "bio"), "so"),
        ("approval_letter", ("--domain", "bio"), "so"),
    ):
        item = by("ada", "evidence", "add", "--kind", kind, "--source", "s", *domain)["id"]
        word = ("--asserted-by", asserted, "--asserted-at", "2020-01-01T00:00:00Z")
        in_a_year = (datetime.now(UTC) + timedelta(days=365)).isoformat()
        word += ("--expires-at", in_a_year, "--no-conflict")
        assert "role" in by("ada", "evidence", "accept", item, *word, status=2).err
        assert by("ivy", "evidence", "accept", item, *word)["accepted_by"] == people["ivy"]
    assert len(airlock("evidence", "list", "--person", people["ada"], "--json")) == 3

    (tmp_path / "terms.txt").write_text("Be careful.")
    publish = ("terms", "publish", str(tmp_path / "terms.txt"), "--mandatory-from")
    publish += ("2020-01-01T00:00:00Z",)
    assert "this was a dry run" in airlock(*publish).out
    assert airlock("terms", "list", "--json") == []
    digest = airlock(*publish, "--submit", "--json")["digest"]
    assert by("dan", "terms", "accept", digest)["person_id"] == people["dan"]

    content = ("--domain", "bio", "--purpose", "x", "--project", "p", "--oversight", "IRB 7")
    made = by("ada", "applications", "create", *content)
    assert airlock("applications", "list", "--json") == [], "a draft is its applicant's"
    listing = ("applications", "list", "--state", "draft", "--state", "submitted", "--json")
    assert [row["id"] for row in airlock(*listing)] == [made["id"]]
    named = (made["id"], "--digest", made["digest"])
    judge = ("applications", "judge", *named, "--rationale", "r", "--no-conflict", "--decision")
    by("ada", "applications", "submit", *named)
    by("ivy", "applications", "take-up", *named)
    for who, decision in (("ivy", "pass"), ("dan", "pass"), ("dan", "approve"), ("app", "approve")):
        by(who, *judge, decision)
    (grant,) = by("ada", "applications", "grant", *named, "--terms", digest)["grants"]

    suspended = airlock("grants", "suspend", grant["id"], "--reason", "odd", "--json")
    assert suspended["suspended_by"] == "command line"
    assert by("app", "grants", "resume", grant["id"])["suspended_at"] is None
    assert by("dan", "grants", "suspend", grant["id"], "--reason", "odd")["suspended_at"]
    resume = ("grants", "resume", grant["id"])
    assert "does not resume" in by("dan", *resume, status=2).err
    assert by("app", *resume)["suspended_by"] is None
    review = ("grants", "review", grant["id"], "--outcome", "continue", "--rationale", "r")
    assert "approver" in by("ada", *review, status=2).err
    later = by("app", *review)["usage_review_due_at"]
    assert later > grant["usage_review_due_at"]

    close = ("breakglass", "close", "--domain", "bio", "--reason", "odd")
    suspend = ("organisations", "set", organisations["Lab"], "--state", "suspended", "--dry-run")
    for tried in ((*close, "--dry-run"), suspend, publish):
        assert [row["id"] for row in airlock(*tried, "--json")] == [grant["id"]], tried
    elsewhere = ("breakglass", "close", "--domain", "chem", "--reason", "r", "--dry-run")
    assert airlock(*elsewhere, "--json") == []
    assert airlock("breakglass", "closures", "--json") == []
    closure = airlock(*close, "--json")
    assert closure["closed_by"] == "command line"
    assert airlock(*close, "--dry-run", "--json") == [], "nothing counts any more"
    lift = ("breakglass", "lift", closure["id"], "--reason", "a test")
    opening = by("dan", *lift)["id"]
    confirm = ("breakglass", "confirm", opening)
    assert "two people" in by("dan", *confirm, status=2).err
    assert by("app", *confirm)["confirmed_by"] == people["app"]
    assert [row["id"] for row in airlock("breakglass", "openings", "--json")] == [opening]
    emergency = ("breakglass", "open", people["ada"], "--domain", "bio", "--minutes", "5")
    assert by("dan", *emergency, "--reason", "r")["minutes"] == 5
    item = airlock("evidence", "list", "--person", people["ada"], "--json")[0]["id"]
    by("ivy", "evidence", "retract", item)
    assert airlock(*close, "--dry-run", "--json") == []


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


def test_a_code_is_mailed_to_an_institution_and_shown(airlock, settings, monkeypatch, tmp_path):
    words = ("people", "add", "Ada", "--organisation", "The Lab", "--tier", "researcher", "--json")
    person = airlock(*words)
    key = airlock("keys", "create", "--person", person["id"], "--workflow", "--json")
    (tmp_path / "ada.key").write_text(key["key"])
    own = ("--key-file", str(tmp_path / "ada.key"), "--json")
    (lab,) = airlock("organisations", "list", "--json")
    change = ("organisations", "set", lab["id"], "--json", "--mail-domains")
    assert airlock(*change, "LAB.example")["mail_domains"] == ["lab.example"]
    assert "it is no organisation's" in airlock(*change, "gmail.com", status=2).err
    ask = ("evidence", "mail", "ada@lab.example", *own)
    assert "AIRLOCK_MAIL_HOST" in airlock(*ask, status=2).err
    monkeypatch.setenv("AIRLOCK_MAIL_HOST", "127.0.0.1")
    monkeypatch.setenv("AIRLOCK_MAIL_FROM", "airlock@gateway.example")
    monkeypatch.setenv("AIRLOCK_PUBLIC_URL", "https://gateway.example")
    mail = airlock(*ask)
    assert "ten minutes" in airlock(*ask, status=2).err

    async def code_of(session) -> str:
        row = await session.get_one(InstitutionMail, mail["id"])
        return institution_code(row, notice_keys(load_secret(settings)))

    assert "not good" in airlock("evidence", "confirm-mail", "x", *own, status=2).err
    attempts = select(InstitutionMail.attempts)
    assert in_transaction(settings, lambda session: session.scalar(attempts)) == 1
    item = airlock("evidence", "confirm-mail", in_transaction(settings, code_of), *own)
    assert (item["kind"], item["asserted_by"]) == ("institution_mail", "system")
    assert airlock(*change)["mail_domains"] == []


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


@pytest.mark.parametrize(
    "words",
    [
        ("identities", "unbind"),
        ("identities", "end-session"),
        ("evidence", "list", "--person"),
        ("keys", "revoke"),
        ("applications", "show"),
    ],
    ids=" ".join,
)
def test_an_id_that_is_no_text_is_one_line_and_a_status(airlock, words):
    refused = airlock(*words, "\udcff", status=2).err
    assert refused.startswith("error: ")
    assert refused.count("\n") == 1


def test_one_person_gives_no_grant_unless_the_operator_says_so(airlock, monkeypatch):
    monkeypatch.delenv("AIRLOCK_DIRECT_GRANTS")
    refused = airlock("grants", "create", "nobody", "--domain", "bio", "--reason", "r", status=2)
    assert "two people approve" in refused.err
    assert "AIRLOCK_DIRECT_GRANTS" in refused.err


def test_the_command_says_its_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"airlock {version('airlock')}\n"


def test_migrate_says_what_it_would_do(airlock):
    airlock("migrate")
    assert "current" in airlock("migrate", "--dry-run").out


def test_engines_are_added_and_removed_and_their_key_is_sealed(airlock, settings, tmp_path):
    url, digest = "http://engine:8101", "sha256:" + "e" * 64
    (tmp_path / "engine.key").write_text("of the engine\n")
    add = ("engines", "add", url, "--digest", digest, "--api-key-file")
    assert "attest" in airlock(*add, str(tmp_path / "engine.key"), status=2).err
    add += (str(tmp_path / "engine.key"), "--attest-url", "http://engine:8201")
    added = airlock(*add, "--json")
    assert (added["url"], added["digest"]) == (url, digest)
    assert "api_key" not in added
    assert "already" in airlock(*add, status=2).err
    missing = (*add[:6], str(tmp_path / "none"), *add[7:])
    assert "No such file" in airlock(*missing, status=2).err
    assert airlock("engines", "list", "--json") == [added]
    (row,) = in_transaction(settings, lambda s: list_engines(s, 9, 0))
    cipher = engine_cipher(load_secret(settings))
    assert cipher.decrypt(row.api_key_encrypted) == b"of the engine", "as gateways read it"
    airlock("engines", "remove", added["id"])
    assert "no engine" in airlock("engines", "remove", added["id"], status=2).err
    assert airlock("engines", "list", "--json") == []


def test_only_the_named_verb_is_imported():
    assert requested_verb(["--home", "keys", "demo"]) == "demo"
    assert requested_verb(["nonsense"]) is None
    assert set(VERBS) >= {
        "demo", "serve", "keys", "grants", "checkpoints", "unlearn", "evaluate", "gate",
        "promote", "rollback", "engine",
    }  # fmt: skip


def test_notices_and_contacts(airlock, tmp_path, monkeypatch):
    hook = ("notices", "add-webhook", "https://ops.example.org/x", "--event", "door.closed")
    assert "AIRLOCK_WEBHOOK_HOSTS" in airlock(*hook, status=2).err
    monkeypatch.setenv("AIRLOCK_WEBHOOK_HOSTS", '["ops.example.org"]')
    made = airlock(*hook, "--json")
    assert made["secret"].startswith("whsec_")
    rotated = airlock("notices", "rotate-webhook", made["id"], "--json")
    assert rotated["old_until"] is not None
    person = airlock(
        "people", "add", "Ada", "--organisation", "x", "--tier", "researcher", "--json"
    )
    key = airlock("keys", "create", "--person", person["id"], "--workflow", "--json")
    (tmp_path / "ada.key").write_text(key["key"])
    unwant = ("notices", "unwant", "--key-file", str(tmp_path / "ada.key"))
    assert airlock(*unwant, "application.passed", "--json")["unwanted"] == ["application.passed"]
    assert "nobody turns these off" in airlock(*unwant, "key.created", status=2).err
    airlock("breakglass", "close", "--domain", "rivers", "--reason", "r", "--json")
    (waiting,) = airlock("notices", "list", "--event", "door.closed", "--json")
    assert (waiting["webhook_id"], waiting["state"]) == (made["id"], "waiting")
    assert airlock("notices", "resend", waiting["id"], "--json")["state"] == "waiting"
    remove = ("notices", "remove-webhook", made["id"])
    assert airlock(*remove, "--dry-run", "--json")["would_drop"] == 1
    assert airlock(*remove, "--json")["ended_at"] is not None
    assert len(airlock("notices", "webhooks", "--json")) == 1

    name = ("contacts", "name", "ada@lab.example", "--person", person["id"])
    assert "No mail is sent here" in airlock(*name, status=2).err
    monkeypatch.setenv("AIRLOCK_MAIL_HOST", "127.0.0.1")
    monkeypatch.setenv("AIRLOCK_MAIL_FROM", "airlock@gateway.example")
    monkeypatch.setenv("AIRLOCK_PUBLIC_URL", "https://gateway.example")
    assert airlock(*name, "--json")["pending_email"] == "ada@lab.example"
    erase = ("contacts", "erase", "--person", person["id"])
    assert airlock(*erase, "--dry-run", "--json")["pending_email"] == "ada@lab.example"
    assert airlock(*erase, "--json")["pending_email"] is None
    assert airlock("contacts", "show", "--person", person["id"], "--json")["email"] is None
    grant = airlock("grants", "create", person["id"], "--domain", "bio", "--reason", "r", "--json")[
        "id"
    ]
    (organisation,) = airlock("organisations", "list", "--json")
    word = ("contacts", "sponsor", grant, "--organisation", organisation["id"], "--json")
    assert airlock(*word)["set_by"] == "command line"


def test_people_go_out_and_come_in(airlock, tmp_path, monkeypatch):
    issuers = [{"name": "lab", "issuer": "https://lab.example"}]
    monkeypatch.setenv("AIRLOCK_ISSUERS", json.dumps(issuers))
    person = airlock("people", "add", "Ada", "--organisation", "x", "--json")["id"]
    bind = ("identities", "bind", "lab", "ada", "--person", person)
    airlock(*bind, "--json")
    exported = airlock("people", "export").out
    record = json.loads(exported)
    assert record["identities"][0]["subject"] == "ada"
    record["identities"][0]["subject"] = "zoe"
    file = tmp_path / "people.jsonl"
    file.write_text(f"{exported}{json.dumps(record)}\n")
    tried = airlock("people", "import", str(file))
    assert "1 made, 0 changed, 1 as they were, 0 refused" in tried.out
    assert "this was a dry run" in tried.out
    assert len(airlock("people", "list", "--json")) == 1
    assert airlock("people", "import", str(file), "--submit", "--json")["made"] == 1
    assert airlock("people", "import", str(file), "--submit", "--json")["unchanged"] == 2
    assert len(airlock("people", "list", "--json")) == 2
    file.write_text("{}\n")
    assert "refused" in airlock("people", "import", str(file), status=1).out
    assert "cannot be read" in airlock("people", "import", "none", status=2).err


def test_visas(airlock, tmp_path, monkeypatch):
    person = airlock(
        "people", "add", "Ada", "--organisation", "x", "--tier", "researcher", "--json"
    )["id"]
    issue = ("visas", "issue", person)
    assert "AIRLOCK_PUBLIC_URL" in airlock(*issue, status=2).err
    monkeypatch.setenv("AIRLOCK_PUBLIC_URL", "https://gateway.example")
    assert "No grant" in airlock(*issue, status=2).err
    airlock("grants", "create", person, "--domain", "bio", "--reason", "r", "--json")
    issued = airlock(*issue, "--json")["visas"]
    assert len(issued) == 2
    file = tmp_path / "passport.txt"
    file.write_text("\n".join(issued))
    refused = airlock("visas", "import", person, str(file), status=1).out
    assert "nothing was done" in refused


def test_a_defect_shows_itself_where_the_gateways_settings_are_not_installed(monkeypatch):
    """The job's image has no pydantic-settings."""
    monkeypatch.setitem(sys.modules, "pydantic_settings", None)

    def fail(_: object) -> int:
        raise RuntimeError("a defect")

    broken = SimpleNamespace(add_arguments=lambda parser: None, run=fail)
    monkeypatch.setitem(sys.modules, VERBS["checkpoints"].module, broken)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["checkpoints"])


def test_a_row_is_one_line_where_there_is_no_terminal(airlock):
    person = airlock(
        "people", "add", "Ada Lovelace", "--organisation", "Analytical Society", "--tier", "public"
    ).out.split()[1]
    (row,) = [line for line in airlock("people", "list").out.splitlines() if person in line]
    assert "Ada Lovelace" in row
    assert "Analytical Society" in row


def test_what_people_call_themselves_is_shown_and_not_obeyed(airlock):
    names = ("[bold]", "Zoe [suspended]", "[/x]", "\x1b[2J\x07", "two\nlines")
    ids = [airlock("people", "add", name, "--organisation", "x", "--json")["id"] for name in names]
    shown = airlock("people", "list").out
    for name in (*names[:3], "\ufffd[2J\ufffd", "two lines"):
        assert name in shown
    assert not {"\x1b", "\x07"} & set(shown)
    for words in (
        ("people", "set", ids[3], "--state", "suspended"),
        ("tiers", "propose", "public", "--priority", "3", "--reason", "r"),
    ):
        one = airlock(*words).out
        assert "\ufffd[2J\ufffd" in one
        assert "\x1b" not in one


def test_what_a_file_and_a_releaser_say_is_not_obeyed(airlock, settings, tmp_path):
    person = airlock("people", "add", "Ada", "--organisation", "x", "--json")["id"]
    record = json.loads(airlock("people", "export").out)
    identity = {"issuer": "\x1b[2J", "subject": "s", "domains": None}
    file = tmp_path / "people.jsonl"
    file.write_text(json.dumps({**record, "identities": [identity]}))
    assert "\ufffd[2J" in airlock("people", "import", str(file), status=1).out

    async def withdraw(session) -> None:
        now = datetime.now(UTC)
        session.add(
            Promotion(
                id="p",
                family="smollm2",
                label="unlearned",
                version=1,
                checkpoint="c",
                hazards=["capitals"],
                forgets=["capitals"],
                release_digest="r",
                profile={},
                profile_digest="d",
                waived=[],
                actor="test",
                created_at=now,
                expires_at=now + timedelta(days=1),
                withdrawn_at=now,
                withdrawn_reason="it leaks\x1b[2J",
            )
        )

    in_transaction(settings, withdraw)
    assert "it leaks\ufffd[2J" in airlock("explain", person, "smollm2", status=1).out


@pytest.mark.parametrize("words", [("audit", "export"), ("config", "page")], ids=" ".join)
def test_a_full_disk_ends_a_verb_with_one_line(airlock, words):
    said = airlock(*words, "--to", "/dev/full", status=2)
    assert said.err == "error: No space left on device\n"


def test_a_full_disk_under_the_output_ends_a_verb_with_one_line():
    words = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*words, "config", "page"], stdout=full, stderr=subprocess.PIPE, check=False, text=True
        )
    assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")


WITNESS = "airlock/witness+c7a6bb8c+BL2XnAWKx8ShkWqOWCIzgVHUEWz0ha5lEp+FTOUZzL0t"


def test_an_error_is_one_line_that_no_terminal_obeys(airlock, tmp_path):
    """What others named a file, or wrote into one, is in it."""
    file = tmp_path / "a\x1b[2J\nb"
    receipt = ("audit", "verify-receipt", "--key", WITNESS, "--trust", "x")
    for status, words in ((2, receipt), (29, ("trust", "public"))):
        said = airlock(*words, str(file), status=status)
        assert said.err.startswith("error: ")
        assert "a\ufffd[2J b" in said.err
        assert said.err.count("\n") == 1
        assert said.err.rstrip("\n").isprintable()
