"""Logins by a real identity provider: in, stronger, out; and what is not let in."""

import json
import re
from base64 import urlsafe_b64encode
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html import unescape
from urllib.parse import urlencode

import httpx
import pytest
from sqlalchemy import insert, select, update

from gateway.cli import main
from gateway.cli.tables import in_transaction
from gateway.controlplane.changes import Tag
from gateway.identity.login import shown_name
from gateway.identity.secret import load_secret
from gateway.notices.keys import notice_keys
from gateway.notices.recipients import institution_code
from gateway.setting_types import IssuerSetting
from gateway.tables import EvidenceItem, Identity, InstitutionMail, LoginSession, Person
from tests.conformance.browser import SECRET, Browser, provider, query_of
from tests.fakes.provider import AUDIENCE
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.controlplane.test_scopes import JUDGEMENT, at
from tests.servers import free_port, wait_for

JUDGE = "/admin/v1/applications/none/judgements"


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    with gateway_with_provider(request, tmp_path_factory.mktemp("login"), "postgresql") as made:
        yield made


@contextmanager
def settings_with_provider(request, home, kind: str, step_up_seconds=30, **organisations: str):
    """Settings with an address that was known beforehand, and running providers that know it.

    One, of The Lab, or one for each of the organisations, by its issuer's name.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    secret = home / "client.secret"
    secret.write_text(SECRET)
    with ExitStack() as stack:
        issuers = tuple(
            IssuerSetting(
                name=name,
                issuer=stack.enter_context(provider(address, name)),
                audience=AUDIENCE if name == "lab" else None,
                client_id="airlock",
                client_secret_file=secret,
                introspection=name == "lab",
                organisation=organisation,
                email=name == "lab",
                step_up_acr=("urn:mfa",),
                step_up_max_age_seconds=step_up_seconds,
            )
            for name, organisation in (organisations or {"lab": "The Lab"}).items()
        )
        given = {"public_url": address, "port": port, "issuers": issuers}
        yield make_settings(request, home, kind, **given)


@contextmanager
def gateway_with_provider(request, home, kind: str):
    """A gateway with one provider."""
    with (
        settings_with_provider(request, home, kind) as settings,
        run_gateway(settings, port=settings.port) as made,
    ):
        yield made


@pytest.fixture
def browser(running):
    return Browser(running.url)


@pytest.fixture
def terminal(running, monkeypatch) -> list[str]:
    """The first words of a command on the gateway's own machine."""
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(running.settings.secret_file))
    if running.settings.database_url:
        monkeypatch.setenv("AIRLOCK_DATABASE_URL", running.settings.database_url)
    return ["--home", str(running.settings.home)]


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_first_login_makes_a_person_without_any_rights(running, browser):
    assert browser.get("/login").json()[0]["login"] == "/login/lab"
    landed = browser.log_in("zoe", query="?return_to=/admin/v1/me%3Fx")
    assert (landed.status_code, landed.headers["location"]) == (303, "/admin/v1/me?x")
    me = browser.get("/admin/v1/me").json()
    assert (me["name"], me["organisation"], me["tier"]) == ("Person zoe", "The Lab", "public")
    assert (me["roles"], me["by"]) == ([], "session")
    assert code(browser.get("/admin/v1/tiers")) == (403, "not_permitted")
    assert browser.get("/admin/v1/applications").json() == []
    people = len(running.admin("GET", "/people", params={"limit": 1000}).json())
    other = Browser(running.url)
    other.log_in("zoe")
    assert other.get("/admin/v1/me").json()["person_id"] == me["person_id"]
    assert len(running.admin("GET", "/people", params={"limit": 1000}).json()) == people


def test_an_address_that_the_provider_has_verified_is_taken_over(running, browser):
    browser.log_in("zoe")
    for _ in range(2):
        address = browser.get("/admin/v1/me/address").json()
        issuer = running.settings.issuers[0].issuer
        assert (address["email"], address["verified_by"]) == ("zoe@lab.example", f"issuer:{issuer}")
        browser.log_in("zoe")
    other = Browser(running.url)
    other.log_in("unverified-bob")
    assert other.get("/admin/v1/me/address").json()["email"] is None
    tag = {"tag": Tag.ADDRESS_CONFIRMED}
    events = running.admin("GET", "/audit-events", params=tag)
    assert len(events.json()) == 1
    assert "zoe@" not in events.text


def test_an_address_that_was_erased_is_not_taken_over_again(running):
    browser = Browser(running.url)
    browser.log_in("lea")
    path = "/admin/v1/me/address"
    assert browser.get(path).json()["email"] == "lea@lab.example"
    assert browser.change("DELETE", path).is_success
    browser.log_in("lea")
    assert browser.get(path).json()["email"] is None


@pytest.mark.parametrize(
    ("claims", "shown"),
    [({"name": "\u200b \u200b"}, "Unnamed"), ({"name": " Zoe \u200b"}, "Zoe"),
     ({"name": "", "preferred_username": "zoe"}, "zoe"),
     ({"name": "\u200b", "preferred_username": "zoe"}, "zoe"),
     ({"name": ["Zoe"], "preferred_username": 7}, "Unnamed"), ({"name": "é" * 300}, "é" * 200)],
)  # fmt: skip
def test_a_person_is_named_by_what_is_seen_of_a_claim(claims, shown):
    assert shown_name(claims) == shown


def test_the_cookie_is_the_hosts_own_and_only_its_hash_is_kept(running, browser):
    browser.log_in("zoe")
    line = next(line for line in browser.set_cookies if line.startswith("__Host-airlock_session"))
    assert {part.strip() for part in line.split(";")[1:]} == {
        "Path=/", "Max-Age=28800", "Secure", "HttpOnly", "SameSite=Lax",
    }  # fmt: skip
    secret = browser.cookies["__Host-airlock_session"]
    assert "__Host-airlock_login" not in browser.cookies
    assert secret not in running.admin("GET", "/audit-events").text


def apply_once(running, browser) -> httpx.Response:
    """Send a change that marks the session as used, in the midst of it, with an idempotency key.

    The mark and the key's reservation are two transactions, of which one must not wait for the
    other where there is but one writer.
    """
    given = {"domains": ["capitals"], "purpose": "p", "project": "p", "oversight_ref": "IRB 7"}

    async def grow_old(session) -> None:
        seen_at = datetime.now(UTC) - timedelta(minutes=2)
        await session.execute(update(LoginSession).values(seen_at=seen_at))

    in_transaction(running.settings, grow_old)
    headers = {"idempotency-key": "once"}
    return browser.change("POST", "/admin/v1/applications", json=given, headers=headers)


def test_the_embedded_database_keeps_logins_too(request, tmp_path):
    with gateway_with_provider(request, tmp_path, "sqlite") as made:
        browser = Browser(made.url)
        browser.log_in("zoe")
        secret = browser.cookies["__Host-airlock_session"]
        raw = b"".join(path.read_bytes() for path in tmp_path.glob("airlock.db*"))
        assert secret.encode() not in raw
        (mine,) = browser.get("/admin/v1/me/sessions").json()
        assert mine["id"].encode() in raw
        first, again = (apply_once(made, browser) for _ in range(2))
        assert first.status_code == again.status_code == 201, first.text
        assert first.json() == again.json()
        assert browser.change("DELETE", f"/admin/v1/me/sessions/{mine['id']}").status_code == 204
        assert code(browser.get("/admin/v1/me")) == (401, "invalid_session")


def test_a_further_login_is_a_new_session_and_ends_the_one_before(running, browser):
    browser.log_in("zoe")
    before = dict(browser.cookies)
    browser.log_in("zoe", query="?step_up=true", acr="urn:mfa")
    assert browser.cookies != before
    old = Browser(running.url, before)
    assert code(old.get("/admin/v1/me")) == (401, "invalid_session")


def test_steps_that_matter_take_a_fresh_and_strong_login(running, browser):
    browser.log_in("rev", acr="urn:pwd")
    person = browser.get("/admin/v1/me").json()["person_id"]
    roles = {"roles": ["identity_reviewer", "approver", "administrator"]}
    assert running.admin("PUT", f"/people/{person}/roles", json=roles).status_code == 200
    steps = [
        ("POST", JUDGE, JUDGEMENT),
        ("POST", "/admin/v1/me/keys", {}),
        ("POST", "/admin/v1/keys", {"person_id": person}),
        ("POST", "/admin/v1/openings", {"person_id": person, "domain": "capitals",
                                        "reason": "r", "minutes": 5}),
        ("PUT", f"/admin/v1/people/{person}/roles", roles),
        ("POST", "/admin/v1/grants", {"person_id": person, "domain": "bio", "reason": "r"}),
    ]  # fmt: skip
    for method, path, body in steps:
        refused = browser.change(method, path, json=body)
        assert code(refused) == (401, "insufficient_user_authentication"), path
        challenge = refused.headers["www-authenticate"]
        assert 'acr_values="urn:mfa"' in challenge
        assert "max_age=30" in challenge
    # Closing takes one person, at once.
    closed = browser.change("POST", "/admin/v1/closures", json={"domain": "bio", "reason": "r"})
    assert closed.status_code == 201
    browser.log_in("rev", acr="urn:mfa", query="?step_up=true")
    for method, path, body in steps:
        answer = browser.change(method, path, json=body)
        assert answer.status_code != 401, (path, answer.text)
    made = browser.change("POST", "/admin/v1/me/keys", json={"label": "own"}).json()
    wait_for(lambda: running.chat(made["key"]).status_code == 200)
    assert browser.change("POST", f"/admin/v1/me/keys/{made['id']}/revoke").status_code == 200


def test_a_strong_login_is_strong_for_a_while(running, browser, monkeypatch):
    browser.log_in("ann", acr="urn:mfa", query="?step_up=true")
    assert browser.change("POST", "/admin/v1/me/keys", json={}).status_code == 201
    at(monkeypatch, datetime.now(UTC) + timedelta(seconds=61))
    refused = browser.change("POST", "/admin/v1/me/keys", json={})
    assert code(refused) == (401, "insufficient_user_authentication")


def test_a_key_stands_for_the_login_that_it_was_made_in_and_grows_old_with_it(
    running, browser, monkeypatch
):
    def step(key: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(running.url + JUDGE, headers=headers, json=JUDGEMENT, timeout=30)

    browser.log_in("kay", acr="urn:mfa", query="?step_up=true")
    made = browser.change("POST", "/admin/v1/me/keys", json={"workflow": True}).json()
    assert made["proven_by"] == running.settings.issuers[0].issuer
    assert code(step(made["key"])) == (404, "not_found"), "it passes where the login did"
    turned = browser.change("POST", f"/admin/v1/me/keys/{made['id']}/rotate", json={})
    assert turned.status_code == 201
    with monkeypatch.context() as patch:
        at(patch, datetime.now(UTC) + timedelta(seconds=30 + 31))
        refused = step(turned.json()["key"])
    assert code(refused) == (401, "insufficient_user_authentication")
    assert 'acr_values="urn:mfa"' in refused.headers["www-authenticate"]
    # Keys make no keys of one's own, however young they are, and nobody turns another's.
    headers = {"authorization": f"Bearer {turned.json()['key']}"}
    own = f"{running.url}/admin/v1/me/keys"
    assert code(httpx.post(own, headers=headers, json={})) == (403, "not_permitted")
    path = f"{own}/{turned.json()['id']}/rotate"
    assert code(httpx.post(path, headers=headers, json={})) == (403, "not_permitted")
    other = Browser(running.url)
    other.log_in("zoe", acr="urn:mfa", query="?step_up=true")
    path = f"/admin/v1/me/keys/{turned.json()['id']}/rotate"
    assert code(other.change("POST", path, json={})) == (404, "not_found")


def test_a_key_of_ones_own_lasts_as_long_as_its_grants_and_ninety_days_at_most(running, browser):
    browser.log_in("liz", acr="urn:mfa", query="?step_up=true")
    person = browser.get("/admin/v1/me").json()["person_id"]

    def days(**given) -> float:
        made = browser.change("POST", "/admin/v1/me/keys", json=given)
        assert made.status_code == 201, made.text
        end = datetime.fromisoformat(made.json()["expires_at"])
        return (end - datetime.now(UTC)) / timedelta(days=1)

    assert 89.9 < days() <= 90
    assert 364.9 < days(days=365) <= 365
    assert 0.9 < days(workflow=True) <= 1
    running.admin("PATCH", f"/people/{person}", json={"tier": "researcher"})
    grant = {"person_id": person, "domain": "capitals", "days": 7, "reason": "r"}
    assert running.admin("POST", "/grants", json=grant).status_code == 201
    assert 6.9 < days() <= 7
    assert 89.9 < days(domains=[]) <= 90
    longer = browser.change("POST", "/admin/v1/me/keys", json={"days": 8})
    assert code(longer) == (400, "invalid_request")


def test_changes_by_cookie_need_our_origin_and_the_sessions_token(running, browser):
    browser.log_in("zoe")
    path = "/admin/v1/me/sessions/none"
    other = Browser(running.url)
    other.log_in("eve")
    forged = [
        {},
        {"origin": running.url},
        {"x-csrf-token": browser.csrf},
        {"origin": "https://evil.example", "x-csrf-token": browser.csrf},
        {"origin": "null", "x-csrf-token": browser.csrf},
        {"origin": running.url + ".evil.example", "x-csrf-token": browser.csrf},
        {"origin": running.url, "x-csrf-token": other.csrf},
        {"origin": running.url, "x-csrf-token": ""},
        {"sec-fetch-site": "cross-site", "x-csrf-token": browser.csrf},
        {"sec-fetch-site": "same-site", "x-csrf-token": browser.csrf},
    ]
    for headers in forged:
        answer = browser.request("DELETE", path, headers=headers)
        assert code(answer) == (403, "forged_request"), headers
    assert code(browser.request("POST", "/logout")) == (403, "forged_request")
    assert code(browser.change("DELETE", path)) == (404, "not_found")
    same = {"sec-fetch-site": "same-origin", "x-csrf-token": browser.csrf}
    assert code(browser.request("DELETE", path, headers=same)) == (404, "not_found")
    # Models are not asked with a cookie.
    assert code(browser.get("/v1/models")) == (401, "missing_api_key")


def mailed(running, person: str) -> str:
    """Return the path of the link in a mail to a person, as if one had gone."""
    (lab,) = [
        row for row in running.admin("GET", "/organisations").json() if row["name"] == "The Lab"
    ]
    domains = {"mail_domains": ["lab.example"]}
    assert running.admin("PATCH", f"/organisations/{lab['id']}", json=domains).status_code == 200
    now = datetime.now(UTC)
    row = InstitutionMail(
        id="a-mail", person_id=person, organisation_id=lab["id"], email="<zoe>@lab.example",
        mailbox=b"m" * 32, nonce="n", asked_at=now, expires_at=now + timedelta(hours=1), attempts=0,
    )  # fmt: skip

    async def add(session) -> str:
        session.add(row)
        return institution_code(row, notice_keys(load_secret(running.settings)))

    return f"/institution-mail/a-mail?code={in_transaction(running.settings, add)}"


def fields(page: httpx.Response) -> dict[str, str]:
    found = re.findall(r'name="([a-z_]+)" value="([^"]*)"', page.text)
    return {name: unescape(value) for name, value in found}


def test_a_mailed_link_is_opened_logged_in_and_counts_by_a_button(running):
    zoe, eve = Browser(running.url), Browser(running.url)
    zoe.log_in("zoe")
    eve.log_in("eve")
    path = mailed(running, zoe.get("/admin/v1/me").json()["person_id"])
    action = path.partition("?")[0]

    stranger = Browser(running.url)
    first = stranger.get(path)
    (login,) = re.findall(r'href="([^"]+)"', first.text)
    begun = stranger.get(unescape(login))
    back = stranger.get(stranger.visit_provider(begun.headers["location"], "eve"))
    assert back.headers["location"] == path, "who logs in comes back"
    assert code(stranger.request("POST", action, content="code=x")) == (403, "forged_request")
    assert code(Browser(running.url).request("POST", action)) == (401, "invalid_session")

    others = eve.get(path)
    assert (others.status_code, "zoe" in others.text) == (404, False)
    page = zoe.get(path)
    assert "&lt;zoe&gt;@lab.example" in page.text
    assert "<script" not in page.text
    assert page.headers["cache-control"] == "no-store"
    # A browser sends `Origin: null` from a page with no referrer at all.
    assert page.headers["referrer-policy"] == "same-origin"
    given = fields(page)
    ours = {"origin": running.url}
    for forged in ({"origin": "https://evil.example"}, {"origin": "null"}, {}):
        answer = zoe.request("POST", action, data=given, headers=forged)
        assert code(answer) == (403, "forged_request")
    no_token = zoe.request("POST", action, data={"code": given["code"]}, headers=ours)
    assert code(no_token) == (403, "forged_request")
    own = {"code": given["code"], "csrf_token": eve.csrf}
    assert eve.request("POST", action, data=own, headers=ours).status_code == 404
    wrong = zoe.request("POST", action, data=given | {"code": "\u00e5"}, headers=ours)
    assert wrong.status_code == 404
    long = zoe.request("POST", action, data=given | {"code": "x" * 20_000}, headers=ours)
    assert code(long) == (400, "invalid_request")
    done = zoe.request("POST", action, data=given, headers=ours)
    assert (done.status_code, "Thank you" in done.text) == (200, True)
    assert zoe.request("POST", action, data=given, headers=ours).status_code == 404
    assert zoe.get(path).status_code == 404

    async def shown(session) -> list[str]:
        kind = EvidenceItem.kind == "institution_mail"
        kinds = await session.scalars(select(EvidenceItem.kind).where(kind))
        attempts = await session.scalar(select(InstitutionMail.attempts))
        return [*kinds, str(attempts)]

    assert in_transaction(running.settings, shown) == ["institution_mail", "1"]


def test_people_and_administrators_list_and_end_sessions(running, browser):
    browser.log_in("sue")
    other = Browser(running.url)
    other.log_in("sue")
    sessions = browser.get("/admin/v1/me/sessions").json()
    assert len(sessions) == 2
    assert not {"secret_hmac", "subject"} & set(sessions[0])
    newest = sessions[0]["id"]
    stranger = Browser(running.url)
    stranger.log_in("eve")
    refused = stranger.change("DELETE", f"/admin/v1/me/sessions/{newest}")
    assert code(refused) == (404, "not_found")
    assert browser.change("DELETE", f"/admin/v1/me/sessions/{newest}").status_code == 204
    assert code(other.get("/admin/v1/me")) == (401, "invalid_session")
    assert browser.get("/admin/v1/me").status_code == 200
    person = sessions[0]["person_id"]
    assert len(running.admin("GET", "/sessions", params={"person_id": person}).json()) == 1
    assert running.admin("DELETE", f"/people/{person}/sessions").status_code == 204
    assert code(running.admin("DELETE", "/people/nobody/sessions")) == (404, "not_found")
    assert code(browser.get("/admin/v1/me")) == (401, "invalid_session")
    other.log_in("sue")
    (mine,) = other.get("/admin/v1/me/sessions").json()
    assert running.admin("DELETE", f"/sessions/{mine['id']}").status_code == 204
    assert code(other.get("/admin/v1/me")) == (401, "invalid_session")


def test_idle_sessions_take_nobodys_place_in_the_list(running, browser):
    browser.log_in("lia")
    (mine,) = browser.get("/admin/v1/me/sessions").json()
    now = datetime.now(UTC)
    idle = now - timedelta(seconds=running.settings.session_idle_seconds)
    common = {"person_id": mine["person_id"], "issuer": "i", "subject": "s", "seen_at": idle,
              "created_at": now, "expires_at": now + timedelta(hours=1)}  # fmt: skip
    rows = [common | {"id": f"idle-{n}", "secret_hmac": b"%032d" % n} for n in range(1000)]
    in_transaction(running.settings, lambda session: session.execute(insert(LoginSession), rows))
    whose = {"person_id": mine["person_id"]}
    for shown in (
        browser.get("/admin/v1/me/sessions"),
        running.admin("GET", "/sessions", params=whose),
    ):
        assert [row["id"] for row in shown.json()] == [mine["id"]]


def test_sessions_are_listed_and_ended_on_the_terminal(running, browser, terminal, capsys):
    browser.log_in("tess")
    other = Browser(running.url)
    other.log_in("tess")
    person = browser.get("/admin/v1/me").json()["person_id"]
    listing = (*terminal, "identities", "sessions", "--person", person, "--json")
    assert main([*listing]) == 0
    newest, oldest = json.loads(capsys.readouterr().out)
    assert newest["created_at"] > oldest["created_at"]
    assert main([*terminal, "identities", "end-session", newest["id"]]) == 0
    assert code(other.get("/admin/v1/me")) == (401, "invalid_session")
    assert browser.get("/admin/v1/me").status_code == 200
    assert main([*terminal, "identities", "end-session", newest["id"]]) == 2
    assert "no session" in capsys.readouterr().err
    assert main([*terminal, "identities", "log-out", "nobody"]) == 2
    assert "no person 'nobody'" in capsys.readouterr().err
    assert main([*listing]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == [oldest["id"]]


def test_logging_out_ends_the_session(running, browser):
    browser.log_in("zoe")
    kept = dict(browser.cookies)
    assert browser.change("POST", "/logout").status_code == 204
    assert "__Host-airlock_session" not in browser.cookies
    assert code(Browser(running.url, kept).get("/admin/v1/me")) == (401, "invalid_session")


def test_logging_out_at_the_provider_ends_it_too(running, browser):
    browser.log_in("joe")
    other = Browser(running.url)
    other.log_in("joe")
    issuer = running.settings.issuers[0].issuer
    page = browser.at_provider("GET", f"{issuer}/session/end")
    form = dict(pair for pair in hidden(page.text))
    form |= {"logout": "yes"}
    done = browser.at_provider("POST", f"{issuer}/session/end/confirm", data=form)
    assert done.status_code in (200, 303), done.text
    wait_for(lambda: browser.get("/admin/v1/me").status_code == 401)
    assert other.get("/admin/v1/me").status_code == 200, "another browser's session goes on"


def hidden(page: str) -> list[tuple[str, str]]:
    import re

    return re.findall(r'name="(xsrf)" value="([^"]+)"', page)


def test_a_suspended_person_is_out_at_once_and_does_not_come_back(running, browser):
    browser.log_in("bad")
    person = browser.get("/admin/v1/me").json()["person_id"]
    running.admin("PATCH", f"/people/{person}", json={"state": "suspended"})
    assert code(browser.get("/admin/v1/me")) == (401, "invalid_session")
    assert running.admin("GET", "/sessions", params={"person_id": person}).json() == []
    assert code(Browser(running.url).log_in("bad")) == (403, "unknown_person")
    running.admin("PATCH", f"/people/{person}", json={"state": "active"})
    assert code(browser.get("/admin/v1/me")) == (401, "invalid_session"), "it has ended for good"
    browser.log_in("bad")
    running.admin("PATCH", f"/people/{person}", json={"tier": "researcher", "state": "active"})
    assert browser.get("/admin/v1/me").json()["tier"] == "researcher"


def test_who_is_let_in_no_more_may_log_out(running, browser):
    browser.log_in("out")
    person, kept = browser.get("/admin/v1/me").json()["person_id"], dict(browser.cookies)

    def become(state: str) -> None:
        change = update(Person).where(Person.id == person).values(state=state)
        in_transaction(running.settings, lambda session: session.execute(change))

    become("suspended")
    assert code(browser.get("/admin/v1/me")) == (403, "unknown_person")
    assert code(browser.request("POST", "/logout")) == (403, "forged_request")
    assert browser.change("POST", "/logout").status_code == 204
    assert "__Host-airlock_session" not in browser.cookies
    become("active")
    assert code(Browser(running.url, kept).get("/admin/v1/me")) == (401, "invalid_session")
    again = Browser(running.url, kept, csrf=browser.csrf)
    assert again.change("POST", "/logout").status_code == 204
    assert "__Host-airlock_session" not in again.cookies


def test_a_session_does_not_outlive_the_move_of_its_subject_to_another_person(running, browser):
    browser.log_in("kim")
    before = browser.get("/admin/v1/me").json()["person_id"]
    (identity,) = running.admin("GET", "/identities", params={"person_id": before}).json()
    to = {"issuer": "lab", "subject": identity["subject"], "person_id": running.people["public"]}

    async def move(session) -> None:
        moved = update(Identity).where(Identity.id == identity["id"])
        await session.execute(moved.values(person_id=to["person_id"]))

    in_transaction(running.settings, move)
    assert code(browser.get("/admin/v1/me")) == (401, "invalid_session")
    browser.log_in("kim")
    assert browser.get("/admin/v1/me").json()["person_id"] == to["person_id"]
    assert running.admin("DELETE", f"/identities/{identity['id']}").status_code == 204
    assert running.admin("POST", "/identities", json=to).status_code == 201
    assert code(browser.get("/admin/v1/me")) == (401, "invalid_session"), "it began before"
    for person in (before, to["person_id"]):
        live = running.admin("GET", "/sessions", params={"person_id": person}).json()
        assert (person, live) == (person, [])


def test_sessions_of_an_issuer_that_does_not_count_any_more_have_ended(
    running, browser, monkeypatch
):
    browser.log_in("uma")
    assert browser.get("/admin/v1/me").status_code == 200
    monkeypatch.setattr(running.gateway.issuers, "by_issuer", {})
    assert code(browser.get("/admin/v1/me")) == (401, "invalid_session")
    monkeypatch.undo()
    assert browser.get("/admin/v1/me").status_code == 200


def test_sessions_end_when_idle_and_when_old(running, browser, monkeypatch):
    browser.log_in("zoe")

    def after(seconds: float) -> int:
        with monkeypatch.context() as patch:
            at(patch, datetime.now(UTC) + timedelta(seconds=seconds))
            return browser.get("/admin/v1/me").status_code

    assert after(1790) == 200
    assert after(1790 + 1790) == 200
    assert after(1790 + 1790 + 1810) == 401
    browser.log_in("zoe")
    for step in range(1, 17):
        assert after(step * 1790) == 200, step
    assert after(28_801) == 401


def test_an_answer_that_is_not_to_what_was_asked_logs_nobody_in(running, browser):
    begun = browser.get("/login/lab")
    asked = query_of(begun.headers["location"])
    assert asked["code_challenge_method"] == "S256"
    assert {"nonce", "state", "code_challenge"} <= set(asked)
    back = browser.visit_provider(begun.headers["location"], "zoe")
    good = query_of(back)
    path = "/login/lab/callback?"

    def refused(who: Browser, **changes) -> None:
        query = {k: v for k, v in (good | changes).items() if v is not None}
        answer = who.get(path + urlencode(query))
        assert code(answer) == (400, "login_failed"), answer.text
        assert "__Host-airlock_session" not in who.cookies
        assert good["code"] not in answer.text

    refused(browser, state="other")
    refused(browser, state=None)
    refused(browser, iss="https://evil.example")
    refused(browser, iss=None)
    refused(browser, code=None)
    refused(browser, code="made-up")
    refused(browser, error="access_denied")
    refused(Browser(running.url))
    refused(Browser(running.url, {"__Host-airlock_login": "x"}))
    # Another browser's login that has begun does not take this answer.
    another = Browser(running.url)
    another.get("/login/lab")
    refused(another)
    twice = browser.get(back + "&state=other")
    assert code(twice) == (400, "login_failed")
    # The provider took the code back when it was shown with a wrong one; begin again.
    assert browser.log_in("zoe").status_code == 303
    replayed = browser.get(back)
    assert code(replayed) == (400, "login_failed")


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/a\\b", "", "x", "/a b"],
)
def test_a_login_returns_to_this_host_only(browser, elsewhere):
    answer = browser.get("/login/lab?" + urlencode({"return_to": elsewhere}))
    assert code(answer) == (400, "invalid_request")


def test_from_a_first_login_to_a_base_answer_by_tokens_of_the_provider(running, browser):
    browser.log_in("uma")
    person = browser.get("/admin/v1/me").json()["person_id"]
    signed = users_token(running, browser, AUDIENCE)
    opaque = users_token(running, browser, f"{AUDIENCE}/opaque")
    assert signed.count(".") == 2
    assert opaque.count(".") == 0
    running.wait_until_seen()
    for token in (signed, opaque):
        assert running.chat(token).headers["x-airlock-tier"] == "public"
        assert code(running.chat(token, "smollm2:base")) == (403, "grant_required")
    running.admin("PATCH", f"/people/{person}", json={"tier": "researcher"})
    grant = {"person_id": person, "domain": "capitals", "reason": "r"}
    assert running.admin("POST", "/grants", json=grant).status_code == 201
    running.wait_until_seen()
    for token in (signed, opaque):
        assert running.chat(token, "smollm2:base").status_code == 200


def users_token(running, browser: Browser, resource: str) -> str:
    """Get an access token as a person's own program would."""
    issuer, verifier = running.settings.issuers[0].issuer, "v" * 43
    challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    callback = f"{running.url}/login/lab/callback"
    query = urlencode(
        {
            "client_id": "airlock",
            "response_type": "code",
            "scope": "openid",
            "redirect_uri": callback,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "resource": resource,
        }
    )
    back = query_of(browser.visit_provider(f"{issuer}/auth?{query}", "uma"))
    answer = httpx.post(
        f"{issuer}/token",
        data={
            "grant_type": "authorization_code",
            "code": back["code"],
            "redirect_uri": callback,
            "code_verifier": verifier,
            "resource": resource,
        },
        auth=("airlock", SECRET),
    )
    assert answer.status_code == 200, answer.text
    # With an ID token as the key, nobody gets in.
    assert code(running.chat(answer.json()["id_token"])) == (401, "invalid_token")
    return answer.json()["access_token"]


def test_a_service_asks_with_its_own_client_credentials(running):
    issuer = running.settings.issuers[0].issuer
    answer = httpx.post(
        f"{issuer}/token",
        data={"grant_type": "client_credentials", "resource": AUDIENCE, "scope": "ask"},
        auth=("nightly", SECRET),
    )
    token = answer.json()["access_token"]
    assert code(running.chat(token)) == (403, "unknown_person")
    given = {"issuer": "lab", "subject": "nightly", "person_id": running.people["researcher"],
             "domains": ["capitals"], "label": "nightly job"}  # fmt: skip
    made = running.admin("POST", "/identities", json=given)
    assert made.status_code == 201, made.text
    running.wait_until_seen()
    assert running.chat(token, "smollm2:base").status_code == 200
    assert running.admin("DELETE", f"/identities/{made.json()['id']}").status_code == 204
    running.wait_until_seen()
    assert code(running.chat(token)) == (403, "unknown_person")


def test_the_first_administrator(running, browser, capsys, terminal):
    """A code from the terminal, good once, and only while there is no administrator."""
    home = terminal
    assert main([*home, "bootstrap"]) == 2
    assert main([*home, "bootstrap", "--key"]) == 2
    assert "administrator already" in capsys.readouterr().err
    for key in running.admin("GET", "/keys", params={"limit": 1000}).json():
        if key["kind"] == "admin":
            last = key["id"]
    for person in running.admin("GET", "/people", params={"limit": 1000}).json():
        running.admin("PUT", f"/people/{person['id']}/roles", json={"roles": []})
    given = {"issuer": "lab", "subject": "tmp", "person_id": running.people["public"]}
    bound = running.admin("POST", "/identities", json=given).json()["id"]
    running.admin("DELETE", f"/identities/{bound}")
    tags = {row["tag"] for row in running.admin("GET", "/audit-events?limit=1000").json()}
    assert running.admin("POST", f"/keys/{last}/revoke").status_code == 200
    browser.log_in("boss")
    browser.change("POST", "/logout")
    browser.log_in("boss")

    def claim(who: Browser, text: str) -> httpx.Response:
        return who.change("POST", "/admin/v1/me/first-administrator", json={"code": text})

    assert code(claim(browser, "guess")) == (403, "not_permitted")
    assert main([*home, "bootstrap"]) == 0
    first = capsys.readouterr().out.strip()
    assert main([*home, "bootstrap"]) == 0
    second = capsys.readouterr().out.strip()
    assert code(claim(browser, first)) == (403, "not_permitted"), "the newest code counts"
    assert claim(browser, second).status_code == 204
    assert browser.get("/admin/v1/tiers").status_code == 200
    assert code(claim(browser, second)) == (403, "not_permitted")
    assert main([*home, "bootstrap"]) == 2
    tags |= {row["tag"] for row in browser.get("/admin/v1/audit-events?limit=1000").json()}
    # What happens to keys is in test_keys and test_leaks.
    ours = {tag for tag in Tag if tag.startswith("identity:")} - {Tag.KEY_REFUSED, Tag.KEY_LEAKED}
    assert ours <= tags, "a tag that nothing emits"
