"""A step by `--key-file` is refused where the admin API refuses the key, and says what to do."""

import argparse
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from gateway.audit.intents import KEY_REFUSED
from gateway.cli import VERBS, build_parser, main
from gateway.cli.tables import in_transaction
from gateway.controlplane.steps import waits
from gateway.tables import ApiKey
from tests.gateway.controlplane.test_keys import ask, last_event, made

DIGEST = "sha256:" + "0" * 64
VERSION = ["x", "--digest", DIGEST]
SAID = [*VERSION, "--rationale", "r", "--no-conflict"]
CONTENT = ["--domain", "rivers", "--purpose", "p", "--project", "p", "--oversight", "o"]
WHEN = ["--asserted-at", "2026-01-01T00:00:00Z", "--expires-at", "2036-01-01T00:00:00Z"]
REASON = ["--reason", "r"]
STEPS = {
    ("applications", "create"): (CONTENT, "POST", "/applications"),
    ("applications", "edit"): ([*VERSION, *CONTENT], "PUT", "/applications/x"),
    ("applications", "submit"): (VERSION, "POST", "/applications/x/submit"),
    ("applications", "withdraw"): (VERSION, "POST", "/applications/x/withdraw"),
    ("applications", "appeal"): (VERSION, "POST", "/applications/x/appeal"),
    ("applications", "take-up"): (VERSION, "POST", "/applications/x/take-up"),
    ("applications", "judge"): (
        [*SAID, "--decision", "pass"], "POST", "/applications/x/judgements"),
    ("applications", "grant"): ([*VERSION, "--terms", DIGEST], "POST", "/applications/x/grants"),
    ("evidence", "add"): (["--kind", "federation", "--source", "s"], "POST", "/evidence"),
    ("evidence", "accept"): (
        ["x", "--asserted-by", "so", *WHEN, "--no-conflict"], "POST", "/evidence/x/accept"),
    ("evidence", "mail"): (["ada@example.org"], "POST", "/me/institution-mail"),
    ("evidence", "confirm-mail"): (["a" * 64], "POST", "/me/institution-mail/confirm"),
    ("evidence", "retract"): (["x"], "POST", "/evidence/x/retract"),
    ("terms", "accept"): ([DIGEST], "POST", f"/terms/{DIGEST}/accept"),
    ("notices", "unwant"): ([], "PUT", "/me/unwanted-notices"),
    ("tiers", "propose"): (
        ["public", "--priority", "-1", *REASON, "--submit"], "POST", "/tier-changes"),
    ("tiers", "approve"): (VERSION, "POST", "/tier-changes/x/approve"),
    ("tiers", "withdraw"): (["x"], "POST", "/tier-changes/x/withdraw"),
    ("breakglass", "close"): (["--domain", "rivers", *REASON], "POST", "/closures"),
    ("breakglass", "lift"): (["x", *REASON], "POST", "/closures/x/lift"),
    ("breakglass", "open"): (
        ["x", "--domain", "rivers", "--minutes", "5", *REASON], "POST", "/openings"),
    ("breakglass", "confirm"): (["x"], "POST", "/openings/x/confirm"),
    ("grants", "suspend"): (["x", *REASON], "POST", "/grants/x/suspend"),
    ("grants", "resume"): (["x"], "POST", "/grants/x/resume"),
    ("grants", "review"): (
        ["x", "--outcome", "continue", "--rationale", "r"], "POST", "/grants/x/usage-reviews"),
    ("contents", "ask"): (["x", *REASON], "POST", "/contents/openings"),
    ("contents", "approve"): (["x"], "POST", "/contents/openings/x/approve"),
    ("contents", "fetch"): (["x", "--to", "FILE"], "POST", "/contents/openings/x/release"),
    ("contents", "destroy"): (
        ["--grant", "x", *REASON, "--submit"], "POST", "/contents/destructions"),
    ("contents", "approve-destruction"): (
        ["x", "--submit"], "POST", "/contents/destructions/x/approve"),
}  # fmt: skip
"""The words of each, and the route of which it is the step."""


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def test_every_verb_that_takes_a_key_file_is_here():
    named = set()
    for verb, (module, _) in VERBS.items():
        if module.startswith("gateway."):
            actions = subparsers(subparsers(build_parser(verb))[verb])
            named |= {
                (verb, name)
                for name, action in actions.items()
                if "--key-file" in action._option_string_actions
            }
    assert named == set(STEPS)


@pytest.fixture(scope="module")
def keys(running) -> dict[tuple[str, str], dict]:
    """Keys of somebody with every duty and of an auditor: plain, narrowed, and grown old."""
    roles = {
        "rex": ["operator", "approver", "identity_reviewer", "domain_reviewer:rivers"],
        "aud": ["auditor"],
    }
    found = {}
    for name, held in roles.items():
        person = {"name": name, "organisation": "Board"}
        running.people[name] = running.admin("POST", "/people", json=person).json()["id"]
        running.admin("PUT", f"/people/{running.people[name]}/roles", json={"roles": held})
        for kind, given in {
            "plain": {},
            "reading": {"scopes": ["admin:read"]},
            "far": {"addresses": ["192.0.2.0/24"]},
            "old": {},
        }.items():
            found[name, kind] = made(running, name, workflow=True, **given)

    async def grow_old(session) -> None:
        ids = [found[name, "old"]["id"] for name in roles]
        then = datetime.now(UTC) - timedelta(days=2)
        await session.execute(update(ApiKey).where(ApiKey.id.in_(ids)).values(proven_at=then))

    in_transaction(running.settings, grow_old)
    return found


@pytest.fixture
def airlock(running, monkeypatch, capsys, tmp_path):
    """Run a step's verb with a key; return what it says when it fails."""
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(running.settings.secret_file))

    def run(step: tuple[str, str], key: dict) -> str:
        words = [str(tmp_path / word) if word == "FILE" else word for word in STEPS[step][0]]
        file = tmp_path / "person.key"
        file.write_text(key["key"])
        home = str(running.settings.home)
        status = main(["--home", home, *step, *words, "--key-file", str(file)])
        said = capsys.readouterr().err
        assert status == (2 if said else 0), said
        return said

    return run


@pytest.mark.parametrize("step", STEPS, ids=" ".join)
def test_a_verb_refuses_a_key_that_the_api_refuses(running, airlock, keys, step):
    _, method, path = STEPS[step]
    owner = "aud" if step[0] == "contents" else "rex"

    def refused(kind: str) -> tuple[int, str, str]:
        answer = ask(running, keys[owner, kind]["key"], method, path, {})
        error = answer.json()["error"]
        return answer.status_code, error["code"], error["message"]

    status, code, message = refused("reading")
    assert (status, code) == (403, "insufficient_scope")
    assert airlock(step, keys[owner, "reading"]) == f"error: {message}\n"

    assert refused("far")[:2] == (403, "address_not_allowed")
    assert "a terminal has none: take the step through the admin API" in airlock(
        step, keys[owner, "far"]
    )
    noted = last_event(running, KEY_REFUSED)
    assert (noted["subject"], noted["detail"]["address"]) == (keys[owner, "far"]["id"], "terminal")

    status, code, message = refused("old")
    said = airlock(step, keys[owner, "old"])
    if (status, code) == (401, "insufficient_user_authentication"):
        assert said == f"error: {message}\n"
        assert "log in again" in said
        assert "log in again" not in airlock(step, keys[owner, "plain"])
    else:
        assert "log in again" not in said, "it waits for no login"


def test_some_steps_wait_for_a_login_and_some_do_not():
    assert waits("POST", "/applications/{application_id}/judgements")
    assert waits("POST", "/a-route-that-nobody-has-listed")
    assert not waits("POST", "/applications")
    assert not waits("GET", "/people")


def test_who_may_not_by_their_duties_may_not_on_the_terminal(running, airlock, keys):
    for owner, step in (("aud", ("applications", "create")), ("rex", ("contents", "ask"))):
        _, method, path = STEPS[step]
        answer = ask(running, keys[owner, "plain"]["key"], method, path, {})
        assert answer.status_code == 403
        message = answer.json()["error"]["message"]
        assert airlock(step, keys[owner, "plain"]) == f"error: {message}\n"
        assert message.startswith("Not permitted")


@pytest.mark.parametrize(
    "held",
    [b"", b"\xff\xfe", "{key}\n{key}", "{key}x", b"x" * 10_000, None],
    ids=["nothing", "no text", "two keys", "more than a key", "much", "the key itself"],
)
def test_a_file_without_a_key_and_a_key_for_a_file_are_refused_in_one_line(
    running, keys, held, monkeypatch, capsys, tmp_path
):
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(running.settings.secret_file))
    key, file = keys["rex", "plain"]["key"], tmp_path / "person.key"
    if isinstance(held, str):
        file.write_text(held.format(key=key))
    elif held is not None:
        file.write_bytes(held)
    words = ["--home", str(running.settings.home), "evidence", "retract", "x", "--key-file"]
    named = key if held is None else str(file)
    assert main([*words, named]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: the key file ")
    assert said.err.count("\n") == 1
    assert key not in said.err + said.out


def test_a_use_on_the_terminal_is_a_use(running, airlock):
    person = {"name": "Una", "organisation": "Board"}
    running.people["una"] = running.admin("POST", "/people", json=person).json()["id"]
    key = made(running, "una", workflow=True)
    assert key["last_used_at"] is None
    assert airlock(("evidence", "add"), key) == ""
    (row,) = running.admin("GET", f"/keys?person_id={running.people['una']}").json()
    assert row["last_used_at"] is not None
