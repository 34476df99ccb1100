"""What a provider, or who stands in for it, may not get away with: ID tokens and logout tokens."""

import hashlib
import json
import logging
import time
from urllib.parse import urlencode

import httpx
import pytest

from gateway.identity.code_uses import CodeUses
from gateway.identity.logout_token import EVENT
from gateway.identity.provider import MAX_DOCUMENT_BYTES
from gateway.identity_errors import LoginFailedError, ProviderUnavailableError
from gateway.logs import OURS, SILENT, set_up_logs
from gateway.setting_types import IssuerSetting
from tests.conformance.browser import Browser, query_of
from tests.fakes.provider import AUDIENCE, FakeProvider, b64
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.identity.test_tokens import bind
from tests.servers import free_port, wait_for

CLIENT = "airlock"


@pytest.fixture(scope="module")
def running(request, tmp_path_factory, provider):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    lab = IssuerSetting(
        name="lab",
        issuer=provider.url,
        audience=AUDIENCE,
        algorithms=("ES256", "ES384", "Ed25519"),
        client_id=CLIENT,
        step_up_acr=("mfa",),
        step_up_max_age_seconds=60,
    )
    settings = make_settings(request, tmp_path_factory.mktemp("lies"), "sqlite", public_url=address)
    with run_gateway(settings, issuers=(lab,), port=port) as made:
        bind(made, "ada", "researcher")
        yield made


def id_token(provider: FakeProvider, nonce: str, header=None, **changes) -> str:
    claims = {"aud": CLIENT, "nonce": nonce, "sub": "zoe", "auth_time": int(time.time())}
    return provider.token(header={"typ": "JWT"} | (header or {}), **claims | changes)


def log_in(running, provider, make) -> tuple[httpx.Response, Browser]:
    """Log in, with the ID token that `make` makes of the nonce."""
    browser = Browser(running.url)
    asked = query_of(browser.get("/login/lab").headers["location"])
    provider.id_token = make(asked["nonce"])
    query = urlencode({"code": "c0de-of-the-test", "state": asked["state"]})
    return browser.get(f"/login/lab/callback?{query}"), browser


LIES = {
    "another nonce": {"nonce": "other"},
    "no nonce": {"nonce": ...},
    "another audience": {"aud": "other"},
    "the API's audience": {"aud": AUDIENCE},
    "several audiences and no authorized party": {"aud": [CLIENT, "other"]},
    "another authorized party": {"azp": "other"},
    "another issuer": {"iss": "https://evil.example"},
    "expired": {"exp": int(time.time()) - 60},
    "no end": {"exp": ...},
    "from the future": {"iat": int(time.time()) + 86400},  # By then every test has been run.
    "no subject": {"sub": ...},
    "a subject that is a list": {"sub": ["zoe"]},
    "another access token's hash": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "another access token's hash, Ed25519": {"kid": "ed", "alg": "Ed25519", "at_hash": "A" * 43},
    "a hash that is a list": {"at_hash": ["A"]},
    "a hash that is a number": {"at_hash": 1},
    "a hash that is no Unicode": {"at_hash": "\ud800"},
    "auth_time as a text": {"auth_time": "now"},
    "another key": {"key": FakeProvider().keys["ec"]},
    "no kid": {"header": {"kid": ...}},
    "a key that it brings along": {"header": {"jwk": {}}},
    "alg none": {"header": {"alg": "none"}, "key": b"x"},
    "HS256": {"header": {"alg": "HS256"}, "key": b"x" * 32},
}


@pytest.mark.parametrize("name", list(LIES))
def test_an_id_token_that_does_not_hold_logs_nobody_in(running, provider, name):
    people = running.admin("GET", "/people", params={"limit": 1000}).json()
    answer, browser = log_in(
        running, provider, lambda nonce: id_token(provider, **{"nonce": nonce} | LIES[name])
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "login_failed"
    assert "__Host-airlock_session" not in browser.cookies
    assert running.admin("GET", "/people", params={"limit": 1000}).json() == people


def test_a_token_that_holds_does_and_nothing_else_is_missing_from_the_table(running, provider):
    answer, browser = log_in(running, provider, lambda nonce: id_token(provider, nonce))
    assert answer.status_code == 303, answer.text
    asked = provider.exchanged[-1]
    assert asked["code"] == "c0de-of-the-test"
    assert len(asked["code_verifier"]) >= 43
    assert asked["redirect_uri"] == f"{running.url}/login/lab/callback"
    assert browser.get("/admin/v1/me").json()["name"] == "Unnamed"
    for none in (None, "", "a.b.c"):
        answer, _ = log_in(running, provider, lambda _, none=none: none)
        assert answer.json()["error"]["code"] == "login_failed"


@pytest.mark.parametrize(
    ("kid", "alg", "digest"),
    [("ec", "ES256", "sha256"), ("p384", "ES384", "sha384"), ("ed", "Ed25519", "sha512")],
)
def test_the_hash_of_the_access_token_is_that_of_the_algorithm(running, provider, kid, alg, digest):
    whole = hashlib.new(digest, b"opaque").digest()
    right = b64(whole[: len(whole) // 2])
    answer, _ = log_in(
        running,
        provider,
        lambda nonce: id_token(provider, nonce, kid=kid, alg=alg, at_hash=right),
    )
    assert answer.status_code == 303, answer.text


ODD_ANSWERS = {
    "a list": "[]",
    "a number": "7",
    "nothing": "null",
    "nested without end": "[" * 100_000,
    "a life that is a list": '{"expires_in": ["1"], "id_token": "a.b.c"}',
    "a life without end": '{"expires_in": 1e999, "id_token": "a.b.c"}',
    "an access token that is an object": '{"access_token": {"a": 1}, "id_token": "a.b.c"}',
}


LOGIN_FAULTS = 'airlock_identity_provider_faults_total{issuer="lab",question="login"}'


@pytest.mark.parametrize("name", list(ODD_ANSWERS))
def test_an_odd_answer_to_the_code_logs_nobody_in(running, provider, name):
    before = running.metric(LOGIN_FAULTS)
    provider.answer = ODD_ANSWERS[name]
    try:
        answer, _ = log_in(running, provider, lambda _: None)
    finally:
        provider.answer = None
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "login_failed")
    is_odd_within = name == "an access token that is an object"
    assert running.metric(LOGIN_FAULTS) == before + (not is_odd_within)


def test_an_answer_to_the_code_is_read_no_further_than_a_document_may_be_long(running, provider):
    before = running.metric(LOGIN_FAULTS)

    def padded(nonce: str) -> str:
        token = id_token(provider, nonce)
        provider.answer = json.dumps({"id_token": token, "padding": "x" * MAX_DOCUMENT_BYTES})
        return token

    try:
        answer, _ = log_in(running, provider, padded)
    finally:
        provider.answer = None
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "login_failed")
    assert running.metric(LOGIN_FAULTS) == before + 1


def test_a_provider_that_refuses_a_code_is_at_no_fault(running, provider):
    before = running.metric(LOGIN_FAULTS)
    provider.answer = '{"error": "invalid_grant"}'
    try:
        answer, _ = log_in(running, provider, lambda _: None)
    finally:
        provider.answer = None
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "login_failed")
    assert running.metric(LOGIN_FAULTS) == before


def test_a_login_asks_the_provider_once_whatever_codes_come_with_it(running, provider):
    browser = Browser(running.url)
    asked = query_of(browser.get("/login/lab").headers["location"])
    provider.id_token = id_token(provider, "another")
    begun = dict(browser.cookies)
    before = len(provider.exchanged)
    for number in range(5):
        query = urlencode({"code": f"made-up-{number}", "state": asked["state"]})
        answer = Browser(running.url, dict(begun)).get(f"/login/lab/callback?{query}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "login_failed")
    assert len(provider.exchanged) == before + 1
    fresh, _ = log_in(running, provider, lambda nonce: id_token(provider, nonce))
    assert fresh.status_code == 303, "another login's code is shown"


def test_a_provider_is_asked_for_few_logins_at_a_time(running, provider, monkeypatch):
    monkeypatch.setattr("gateway.identity.code_uses.MAX_UNDER_WAY", 0)
    browser = Browser(running.url)
    asked = query_of(browser.get("/login/lab").headers["location"])
    provider.id_token = id_token(provider, asked["nonce"])
    callback = "/login/lab/callback?" + urlencode({"code": "c", "state": asked["state"]})
    before = len(provider.exchanged)
    refused = browser.get(callback)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "provider_unavailable")
    assert len(provider.exchanged) == before
    monkeypatch.undo()
    assert browser.get(callback).status_code == 303, "it may be sent again"


def test_uses_of_codes_are_counted_while_they_last_and_the_latest_are_kept(monkeypatch):
    monkeypatch.setattr("gateway.identity.code_uses.MAX_UNDER_WAY", 1)
    monkeypatch.setattr("gateway.identity.code_uses.MAX_KEPT", 2)
    uses = CodeUses()
    with uses.use("lab", "1"):
        with pytest.raises(ProviderUnavailableError), uses.use("lab", "2"):
            pass
        with uses.use("other", "3"):
            pass
    with pytest.raises(ValueError, match="a fault"), uses.use("lab", "4"):
        raise ValueError("a fault")
    with pytest.raises(LoginFailedError), uses.use("lab", "4"):
        pass
    with uses.use("lab", "1"):
        pass


@pytest.mark.parametrize("mode", ["down", "slow"])
def test_a_provider_that_does_not_answer_is_503(running, provider, mode, monkeypatch):
    monkeypatch.setattr("gateway.identity.login.TIMEOUT_SECONDS", 0.2)
    browser = Browser(running.url)
    asked = query_of(browser.get("/login/lab").headers["location"])
    before = running.metric(LOGIN_FAULTS)
    provider.mode = mode
    try:
        query = urlencode({"code": "c", "state": asked["state"]})
        answer = browser.get(f"/login/lab/callback?{query}")
    finally:
        provider.mode = "ok"
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == "provider_unavailable"
    assert running.metric(LOGIN_FAULTS) == before + 1


def test_codes_cookies_and_tokens_are_never_logged(running, provider, caplog):
    # The test's own client writes all that it gets, and its server an access log, which
    # `airlock serve` switches off.
    of_tests = ("httpx", "httpcore", "uvicorn")

    def ours() -> str:
        rows = [row for row in caplog.records if row.name.split(".")[0] not in of_tests]
        return " ".join(row.getMessage() for row in rows)

    names = ("root", "uvicorn", *OURS, *SILENT)
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = logging.getLogger().handlers[:]
    try:
        set_up_logs("debug")
        logging.getLogger().handlers = handlers
        answer, browser = log_in(running, provider, lambda nonce: id_token(provider, nonce))
        log_in(running, provider, lambda nonce: id_token(provider, "other"))
        running.chat("nobody")
        wait_for(lambda: "a request has ended" in ours())  # It is told after the answer.
    finally:
        for name, level in levels.items():
            logging.getLogger(None if name == "root" else name).setLevel(level)
    assert answer.status_code == 303
    assert "c0de-of-the-test" not in ours()
    assert browser.cookies["__Host-airlock_session"] not in ours()
    assert str(provider.id_token)[:60] not in ours()


@pytest.fixture
def demanding(running):
    """A tier that demands a context which its members' issuer does not."""
    running.change_tier("researcher", step_up={"acr": ["urn:key", "urn:card"], "max_age": 60})
    yield
    running.change_tier("researcher", step_up=None)


@pytest.mark.usefixtures("demanding")
def test_a_login_asks_for_the_context_that_a_tier_or_the_issuer_demands(running):
    def asked(**query) -> dict[str, str]:
        answer = Browser(running.url).get("/login/lab?" + urlencode(query))
        assert answer.status_code == 303, answer.text
        return query_of(answer.headers["location"])

    stronger = asked(step_up="true", acr="urn:key")
    assert (stronger["acr_values"], stronger["prompt"]) == ("urn:key", "login")
    assert stronger["max_age"] == "60"
    assert asked(step_up="true", acr="mfa")["acr_values"] == "mfa"
    assert asked(step_up="true")["acr_values"] == "mfa"
    only = asked(acr="urn:card")
    assert only["acr_values"] == "urn:card"
    assert not {"prompt", "max_age"} & set(only)
    assert "acr_values" not in asked()


@pytest.mark.usefixtures("demanding")
@pytest.mark.parametrize(
    "acr",
    ["", "other", "urn:key mfa", "urn:key\n", "urn:\u00e9", "m" * 201],
    ids=["none", "unknown", "two", "a line", "beyond ASCII", "long"],
)
def test_a_login_asks_for_no_context_that_nobody_demands(running, acr):
    answer = Browser(running.url).get("/login/lab?" + urlencode({"step_up": "true", "acr": acr}))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_request", "acr")


def logout_token(provider, header=None, **changes) -> str:
    claims = {"aud": CLIENT, "sub": "zoe", "events": {EVENT: {}}, "client_id": ...}
    return provider.token(header={"typ": "logout+jwt"} | (header or {}), **claims | changes)


FORGED = {
    "no events": {"events": ...},
    "another event": {"events": {"other": {}}},
    "an event that is no object": {"events": {EVENT: True}},
    "a nonce": {"nonce": "n"},
    "another audience": {"aud": AUDIENCE},
    "another issuer": {"iss": "https://evil.example"},
    "nobody": {"sub": ...},
    "no jti": {"jti": ...},
    "old": {"iat": int(time.time()) - 400},
    "expired": {"exp": int(time.time()) - 60},
    "another key": {"key": FakeProvider().keys["ec"]},
    "an access token": {"header": {"typ": "at+jwt"}},
    "alg none": {"header": {"alg": "none"}, "key": b"x"},
}


def send_logout(running, token: str) -> httpx.Response:
    return httpx.post(f"{running.url}/login/lab/logout", data={"logout_token": token})


@pytest.mark.parametrize("name", list(FORGED))
def test_a_forged_logout_ends_nobodys_session(running, provider, name):
    _, browser = log_in(running, provider, lambda nonce: id_token(provider, nonce))
    answer = send_logout(running, logout_token(provider, **FORGED[name]))
    assert answer.status_code == 401, answer.text
    assert browser.get("/admin/v1/me").status_code == 200


def test_a_logout_ends_what_it_names_and_a_replay_nothing_that_began_later(running, provider):
    def login(**claims) -> Browser:
        return log_in(running, provider, lambda nonce: id_token(provider, nonce, **claims))[1]

    def inside(browser: Browser) -> bool:
        return browser.get("/admin/v1/me").status_code == 200

    first, second, other = login(sid="s1"), login(sid="s2"), login(sub="eve", sid="s1")
    assert send_logout(running, logout_token(provider, sid="s1")).status_code == 200
    assert (inside(first), inside(second), inside(other)) == (False, True, True)
    everywhere = logout_token(provider, iat=int(time.time()) - 60)
    assert send_logout(running, everywhere).status_code == 200
    assert inside(second), "it began after that logout was said"
    assert send_logout(running, logout_token(provider)).status_code == 200
    assert not inside(second)
    assert inside(other)
    assert send_logout(running, "x" * 20_000).status_code == 400


@pytest.mark.parametrize("behind", [2, 20])
def test_a_logout_by_a_clock_that_is_behind_ends_what_has_just_begun(running, provider, behind):
    _, browser = log_in(running, provider, lambda nonce: id_token(provider, nonce))
    token = logout_token(provider, iat=int(time.time()) - behind)
    assert send_logout(running, token).status_code == 200
    assert browser.get("/admin/v1/me").status_code == 401


def test_a_token_too_weak_or_too_old_takes_no_step_that_matters(running, provider):
    path = f"/people/{running.people['researcher']}/roles"
    assert running.admin("PUT", path, json={"roles": ["approver"]}).status_code == 200

    def step(**claims) -> tuple[int, str]:
        answer = httpx.post(
            f"{running.url}/admin/v1/openings/none/confirm",
            headers={"authorization": f"Bearer {provider.token(**claims)}"},
        )
        return answer.status_code, answer.json()["error"]["code"]

    now = int(time.time())
    weak = (401, "insufficient_user_authentication")
    assert step() == weak
    assert step(acr="mfa") == weak
    assert step(acr="pwd", auth_time=now) == weak
    assert step(auth_time=now) == weak
    assert step(acr="mfa", auth_time=now - 120) == weak
    assert step(acr="mfa", auth_time=now + 600) == weak
    assert step(acr="mfa", auth_time=now - 20) == (404, "not_found")
