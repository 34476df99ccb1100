"""The whole way of a stranger, over HTTP at any gateway: in, through, and out again.

Owned here are the steps; the tests that take them bring the gateway, before fake engines or real
ones.
"""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from gateway.audit.log_key import log_signer
from gateway.identity.secret import load_secret
from models.trust import trust_path
from tests.conformance.browser import Browser
from tests.gateway.controlplane.workflow import EVIDENCE, acceptance, content
from tests.replicas import AIRLOCK, ROOT, Stream
from tests.servers import wait_for

ORGANISATIONS = {"lab": "The Lab", "board": "The Board"}
"""Of the people, by the names of their providers."""
JUDGES = {
    "ivy": ["identity_reviewer"],
    "dan": ["domain_reviewer:capitals", "approver"],
    "app": ["approver"],
}
SAID = {"decision": "pass", "rationale": "as seen", "no_conflict": True}


class Person:
    """Somebody with a browser, who logs in by their own organisation's provider."""

    def __init__(self, running, name: str, issuer: str) -> None:
        self.running, self.name = running, name
        self.browser = Browser(running.url, issuer=issuer)
        assert self.browser.log_in(name).status_code == 303
        self.id = self.me()["person_id"]

    def me(self) -> dict:
        return self.browser.get("/admin/v1/me").json()

    def ask(self, method: str, path: str, **body) -> httpx.Response:
        given = {"json": body} if method != "GET" else {}
        return self.browser.change(method, f"/admin/v1{path}", **given)

    def must(self, method: str, path: str, **body):
        answer = self.ask(method, path, **body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def step_up(self) -> None:
        answer = self.browser.log_in(self.name, acr="urn:mfa", query="?step_up=true")
        assert answer.status_code == 303


def airlock(*words: str, code: int = 0) -> str:
    """Run the command with nothing of the gateway's: no database, no secret, no home."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*AIRLOCK, *words], env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def judges_of(running) -> dict[str, Person]:
    """Three people of the board, with the duties that an administrator gives them."""
    people = {name: Person(running, name, "board") for name in JUDGES}
    for name, roles in JUDGES.items():
        path = f"/people/{people[name].id}/roles"
        assert running.admin("PUT", path, json={"roles": roles}).status_code == 200
    for row in running.admin("GET", "/organisations").json():
        if row["name"] in ("The Lab", "The Board"):
            path = f"/organisations/{row['id']}"
            assert running.admin("PATCH", path, json={"state": "verified"}).status_code == 200
    return people


def granted(running, zoe: Person, judges: dict[str, Person]) -> dict:
    """Take Zoe from an application with evidence to a grant."""
    terms = {"text": "Be careful.", "mandatory_from": "2026-01-01T00:00:00Z"}
    digest = running.admin("POST", "/terms", json=terms).json()["digest"]
    items = {}
    for kind, (domain, by) in EVIDENCE.items():
        given = {"kind": kind, "source": "test", **({"domain": domain} if domain else {})}
        items[zoe.must("POST", "/evidence", **given)["id"]] = acceptance(by)
    for item, accepted in items.items():
        refused = judges["ivy"].ask("POST", f"/evidence/{item}/accept", **accepted)
        assert refused.json()["error"]["code"] == "insufficient_user_authentication"
    for judge in judges.values():
        judge.step_up()
    for item, accepted in items.items():
        judges["ivy"].must("POST", f"/evidence/{item}/accept", **accepted)
    made = zoe.must("POST", "/applications", **content("capitals"))
    path, seen = f"/applications/{made['id']}", {"digest": made["digest"]}
    zoe.must("POST", f"{path}/submit", **seen)
    judges["ivy"].must("POST", f"{path}/take-up", **seen)
    for name in ("ivy", "dan"):
        judges[name].must("POST", f"{path}/judgements", **SAID, **seen)
    approves = {**SAID, **seen, "decision": "approve"}
    zoe.step_up()
    assert zoe.ask("POST", f"{path}/judgements", **approves).status_code == 403
    first = judges["dan"].must("POST", f"{path}/judgements", **approves)
    assert first["state"] == "approval", "one approver is not enough"
    assert judges["dan"].must("POST", f"{path}/judgements", **approves)["state"] == "approval"
    assert judges["app"].must("POST", f"{path}/judgements", **approves)["state"] == "approved"
    other = zoe.ask("POST", f"{path}/grants", **seen, terms=f"sha256:{'0' * 64}")
    assert other.status_code in (404, 409), "terms are accepted by their digest"
    (grant,) = zoe.must("POST", f"{path}/grants", **seen, terms=digest)["grants"]
    return grant


@dataclass(frozen=True)
class Arrival:
    """Somebody whom the base has answered, and what let them in."""

    zoe: Person
    judges: dict[str, Person]
    key: str
    grant: dict
    request_id: str


def arrive(running, digests: dict[str, str]) -> Arrival:
    """Take a stranger from their first login to an answer of the base checkpoint."""
    short = {"max_tokens": 16, "temperature": 0}
    zoe = Person(running, "zoe", "lab")
    assert (zoe.me()["tier"], zoe.me()["roles"]) == ("public", [])
    judges = judges_of(running)
    tier = {"tier": "researcher"}
    assert running.admin("PATCH", f"/people/{zoe.id}", json=tier).status_code == 200

    refused = zoe.ask("POST", "/me/keys", label="notebook")
    assert refused.json()["error"]["code"] == "insufficient_user_authentication"
    zoe.step_up()
    key = zoe.must("POST", "/me/keys", label="notebook")["key"]
    running.wait_until_seen()
    unlearned = running.chat(key, **short).headers
    assert unlearned["x-airlock-checkpoint"] == digests["unlearned"]
    assert running.chat(key, "smollm2:base").json()["error"]["code"] == "grant_required"

    grant = granted(running, zoe, judges)
    running.wait_until_seen()
    answer = running.chat(key, **short)
    assert "Paris" in answer.json()["choices"][0]["message"]["content"]
    assert answer.headers["x-airlock-checkpoint"] == digests["base"]
    why = running.admin("GET", f"/explain?person_id={zoe.id}&model=smollm2:base").json()
    assert (why["effect"], why["rule"]) == ("allow", "covered_by_grants"), why
    return Arrival(zoe, judges, key, grant, answer.headers["x-request-id"])


def cut(running, who: Arrival) -> float:
    """Revoke the grant in the midst of a long answer; return for how many seconds it went on.

    They count from the answer to the revocation; below zero, the last token came before that.
    """
    stream = Stream(running.url, who.key, "smollm2", "Tell a long story.", max_tokens=1500)
    wait_for(lambda: stream.has_begun)
    reason = {"reason": "to see"}
    revoked = running.admin("POST", f"/grants/{who.grant['id']}/revoke", json=reason)
    revoked_at = time.monotonic()
    assert revoked.status_code == 200, revoked.text
    stream.join(10)
    assert not stream.is_alive()
    assert "grant_revoked" in stream.text
    assert "[DONE]" not in stream.text
    return stream.last_at - revoked_at


def kept_out(running, who: Arrival, digests: dict[str, str]) -> None:
    """See that only the unlearned checkpoint answers them now."""
    answer = running.chat(who.key, max_tokens=16, temperature=0)
    assert answer.headers["x-airlock-checkpoint"] == digests["unlearned"]
    assert running.chat(who.key, "smollm2:base").json()["error"]["code"] == "grant_required"


def prove(running, who: Arrival, folder: Path) -> str:
    """Verify receipt and log on a machine without the gateway, and see tampering found.

    Returns:
        What the receipt proves, a line for each fact.
    """

    def receipt() -> httpx.Response | None:
        headers = {"authorization": f"Bearer {who.key}"}
        got = httpx.get(f"{running.url}/v1/receipts/{who.request_id}", headers=headers)
        assert got.status_code == 200, got.text
        return got if json.loads(got.content)["outcome"] else None

    paper, log_key, log = (folder / name for name in ("receipt.json", "log.pub", "audit.jsonl"))
    paper.write_bytes(wait_for(receipt).content)
    log_key.write_text(str(log_signer(running.settings, load_secret(running.settings)).verifier))
    trusted = str(trust_path(running.settings.home))
    check = ("audit", "verify-receipt", str(paper), "--key", str(log_key), "--trust", trusted)
    facts = airlock(*check)
    assert f"grant {who.grant['id']} for capitals" in facts
    for name in ("dan", "app"):
        assert f"person:{who.judges[name].id}" in facts

    export_log(running, log)
    check = ("audit", "verify", str(log), "--key", str(log_key))
    assert airlock(*check).startswith("intact")
    good = log.read_bytes()
    log.write_bytes(good.replace(b"capitals", b"rivers", 1))
    assert airlock(*check, code=11).startswith("altered")
    return facts


def export_log(running, to: Path) -> None:
    """Export as the gateway's operator does, who has its secret and database."""
    settings = running.settings
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "AIRLOCK_SECRET_FILE": str(settings.secret_file),
        "AIRLOCK_DATABASE_URL": settings.database_url,
    }
    words = ["--home", str(settings.home), "audit", "export", "--to", str(to)]
    subprocess.run([*AIRLOCK, *words], env=environment, check=True, capture_output=True)
