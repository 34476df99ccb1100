"""Access tokens at the gateway's doors: whom they name, and every way in which they do not."""

import time

import httpx
import pytest

from gateway.setting_types import IssuerSetting
from tests.fakes.provider import AUDIENCE, FakeProvider
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.dataplane.batches.driving import ask, create, ended, line, results
from tests.gateway.identity.odd_tokens import odd_keys, odd_tokens
from tests.servers import serving, wait_for


@pytest.fixture(scope="module")
def running(request, tmp_path_factory, provider):
    """A gateway that takes the provider's word; Ada is its researcher."""
    with serving(FakeProvider(), lifespan="off") as other:
        issuers = (
            IssuerSetting(
                name="lab", issuer=provider.url, audience=AUDIENCE, algorithms=["ES256", "RS256"]
            ),
            IssuerSetting(name="other", issuer=other, audience=AUDIENCE, token_types=["JWT"]),
        )
        settings = make_settings(request, tmp_path_factory.mktemp("tokens"), "sqlite")
        with run_gateway(settings, issuers=issuers) as made:
            bind(made, "ada", "researcher")
            made.wait_until_seen()
            yield made


def bind(running, subject: str, who: str, **more) -> str:
    given = {"issuer": "lab", "subject": subject, "person_id": running.people[who], **more}
    answer = running.admin("POST", "/identities", json=given)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def reached(running) -> int:
    return sum(len(engine.bodies) for engine in running.engines.values())


def test_a_token_opens_what_the_persons_grants_do_and_says_nothing_of_its_own(running, provider):
    answer = running.chat(provider.token(), "smollm2:base")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-airlock-tier"] == "researcher"
    for kid, alg in (("ec", "ES256"), ("rsa", "RS256")):
        assert running.chat(provider.token(kid, alg)).status_code == 200
    bind(running, "plain", "public")
    running.wait_until_seen()
    claims = {"scope": "base admin", "roles": ["administrator"], "groups": ["researcher"]}
    refused = running.chat(provider.token(sub="plain", **claims), "smollm2:base")
    assert refused.json()["error"]["code"] == "grant_required"
    assert running.chat(provider.token(sub="plain", aud=["account", AUDIENCE])).status_code == 200


def test_a_token_works_for_anthropics_clients_too(running, provider):
    body = {"model": "smollm2", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
    for headers in ({"x-api-key": provider.token()}, {}):
        who = provider.token()
        answer = httpx.post(
            f"{running.url}/v1/messages",
            json=body,
            headers=headers or {"authorization": f"Bearer {who}"},
        )
        assert answer.status_code == 200, answer.text
    wrong = httpx.post(f"{running.url}/v1/messages", json=body, headers={"x-api-key": "a.b.c"})
    assert wrong.json()["error"]["type"] == "authentication_error"


def test_who_is_not_known_or_suspended_may_not_call(running, provider):
    stranger = running.chat(provider.token(sub="stranger"))
    assert (stranger.status_code, stranger.json()["error"]["code"]) == (403, "unknown_person")
    named = running.chat(provider.token(sub="stranger", email="ada@lab.example"))
    assert named.status_code == 403


def test_who_comes_with_a_token_may_make_a_batch_for_their_own_door(running, provider):
    batch = create(running, provider.token(), [line(1, model="smollm2:base")])
    batch = ended(running, provider.token(), batch)
    assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    output, _ = results(running, provider.token(), batch)
    assert running.engines["base"].text in str(output["line-1"])
    bind(running, "somebody-else", "public")
    running.wait_until_seen()
    other = provider.token(sub="somebody-else")
    assert ask(running, other, "GET", f"/batches/{batch['id']}").status_code == 404


NAMES = list(odd_tokens(FakeProvider()))


@pytest.fixture(scope="module")
def odd(running, provider):
    """The odd tokens, where the key set holds the odd keys too."""
    provider.extra = odd_keys(provider)
    forget_cool_down(running, provider)
    assert running.chat(provider.token(header={"kid": "unknown"})).status_code == 401
    yield odd_tokens(provider)
    provider.extra = []


def forget_cool_down(running, provider) -> None:
    running.gateway.issuers.by_issuer[provider.url]._asked_at = float("-inf")


@pytest.mark.parametrize("name", NAMES)
def test_a_token_that_is_wrong_in_one_way_reaches_nobody(running, provider, odd, name):
    # Each is asked as if it were the first, so that no cool-down stands in for the check.
    forget_cool_down(running, provider)
    before = reached(running)
    answer = running.chat(odd[name])
    error = answer.json()["error"]
    assert answer.status_code == 401, answer.text
    assert error["code"] in ("invalid_token", "invalid_api_key")
    assert set(error) == {"message", "type", "param", "code"}
    assert odd[name] not in answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert reached(running) == before
    admin = httpx.get(
        f"{running.url}/admin/v1/tiers", headers={"authorization": f"Bearer {odd[name]}"}
    )
    assert admin.status_code in (401, 503), admin.text


def test_an_expired_token_says_so_and_clocks_may_differ_a_little(running, provider):
    now = int(time.time())
    expired = running.chat(provider.token(iat=now - 600, exp=now - 60))
    assert (expired.status_code, expired.json()["error"]["code"]) == (401, "expired_token")
    assert 'error="invalid_token"' in expired.headers["www-authenticate"]
    assert running.chat(provider.token(exp=now - 10)).status_code == 200
    assert running.chat(provider.token(iat=now + 20, nbf=now + 20)).status_code == 200


@pytest.mark.parametrize("cnf", [{"jkt": "k"}, {"x5t#S256": "k"}, {}, None], ids=range(4))
def test_a_token_that_is_bound_to_its_clients_key_is_for_no_bearer(running, provider, cnf):
    before = reached(running)
    for _ in range(2):
        refused = running.chat(provider.token(cnf=cnf))
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "bound_token")
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert "not bound" in refused.json()["error"]["message"]
    assert reached(running) == before


def test_a_token_that_was_seen_expires_all_the_same(running, provider):
    token = provider.token(exp=int(time.time()) - 28)
    assert running.chat(token).status_code == 200
    time.sleep(2.2)
    assert running.chat(token).json()["error"]["code"] == "expired_token"


@pytest.mark.timed
def test_what_ends_access_ends_it_for_tokens_within_a_second_and_cuts_streams(running, provider):
    person = running.admin("POST", "/people", json=PERSON).json()["id"]
    grant = {"person_id": person, "domain": "capitals", "reason": "r"}
    assert running.admin("POST", "/grants", json=grant).status_code == 201
    running.people["bea"] = person
    identity = bind(running, "bea", "bea")
    running.wait_until_seen()
    engine = running.engines["base"]
    engine.tokens, engine.delay_seconds = 400, 0.02
    body = {"model": "smollm2:base", "stream": True, "messages": MESSAGES}
    headers = {"authorization": f"Bearer {provider.token(sub='bea')}"}
    url = f"{running.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert running.admin("DELETE", f"/identities/{identity}").status_code == 204
        began = time.monotonic()
        rest = list(lines)
        assert time.monotonic() - began < 1.0
    assert any("grant_revoked" in line for line in rest)
    engine.tokens, engine.delay_seconds = 4, 0.0
    assert running.chat(provider.token(sub="bea")).status_code == 403
    bind(running, "bea", "bea")
    running.wait_until_seen()
    assert running.chat(provider.token(sub="bea")).status_code == 200
    running.admin("PATCH", f"/people/{person}", json={"state": "suspended"})
    running.wait_until_seen()
    assert running.chat(provider.token(sub="bea")).json()["error"]["code"] == "unknown_person"


PERSON = {"name": "Bea", "organisation": "o", "tier": "researcher"}
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


def test_a_service_uses_only_the_grants_that_it_lists_and_its_sponsor_has(running, provider):
    bind(running, "job", "researcher", domains=["capitals"], label="nightly")
    bind(running, "narrow", "researcher", domains=[], label="narrow")
    bind(running, "unsponsored", "public", domains=["capitals"], label="public's")
    running.wait_until_seen()
    assert running.chat(provider.token(sub="job"), "smollm2:base").status_code == 200
    for subject in ("narrow", "unsponsored"):
        assert running.chat(provider.token(sub=subject)).status_code == 200
        refused = running.chat(provider.token(sub=subject), "smollm2:base")
        assert refused.json()["error"]["code"] == "grant_required"
    step = httpx.get(
        f"{running.url}/admin/v1/applications",
        headers={"authorization": f"Bearer {provider.token(sub='job')}"},
    )
    assert (step.status_code, step.json()["error"]["code"]) == (403, "not_permitted")


def test_the_admin_api_takes_tokens_of_people_with_the_duty(running, provider):
    def tiers(subject: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {provider.token(sub=subject)}"}
        return httpx.get(f"{running.url}/admin/v1/tiers", headers=headers)

    refused = tiers("ada")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_permitted")
    path = f"/people/{running.people['researcher']}/roles"
    assert running.admin("PUT", path, json={"roles": ["administrator"]}).status_code == 200
    assert tiers("ada").status_code == 200
    assert running.admin("PUT", path, json={"roles": []}).status_code == 200
    assert tiers("ada").status_code == 403
    assert tiers("stranger").json()["error"]["code"] == "unknown_person"


def test_a_tier_may_demand_a_stronger_login_than_the_issuer(running, provider):
    path = f"/people/{running.people['researcher']}/roles"
    assert running.admin("PUT", path, json={"roles": ["administrator"]}).status_code == 200
    now = int(time.time())

    def step(**claims) -> int:
        """The status of a step that matters; 404 for who may take it, since nobody is there."""
        headers = {"authorization": f"Bearer {provider.token(sub='ada', **claims)}"}
        url = f"{running.url}/admin/v1/people/nobody"
        return httpx.patch(url, json={"state": "active"}, headers=headers).status_code

    assert step(auth_time=now) == 404
    running.change_tier("researcher", step_up={"acr": ["mfa"], "max_age": 60})
    assert step(auth_time=now) == 401
    assert step(acr="mfa", auth_time=now - 600) == 401
    assert step(acr="mfa", auth_time=now) == 404
    running.change_tier("researcher", step_up=None)
    assert step(auth_time=now) == 404
    assert running.admin("PUT", path, json={"roles": []}).status_code == 200


def test_a_base_request_by_token_has_a_receipt_for_its_person(running, provider):
    answer = running.chat(provider.token(), "smollm2:base")
    path = f"{running.url}/v1/receipts/{answer.headers['x-request-id']}"
    headers = {"authorization": f"Bearer {provider.token()}"}

    def status(subject: str) -> int:
        headers = {"authorization": f"Bearer {provider.token(sub=subject)}"}
        return httpx.get(path, headers=headers).status_code

    assert httpx.get(path, headers=headers).status_code in (200, 404), answer.text
    bind(running, "curious", "public")
    assert status("curious") == 404
    assert status("nobody") == 403
    bind(running, "courier", "researcher", domains=["capitals"], label="courier")
    assert status("courier") == 403, "it is its sponsor's"


def test_an_identity_is_bound_once(running):
    given = {"issuer": "lab", "subject": "ada", "person_id": running.people["public"]}
    again = running.admin("POST", "/identities", json=given)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
    unknown = running.admin("POST", "/identities", json={**given, "issuer": "nowhere"})
    assert unknown.status_code == 404
    rows = running.admin("GET", "/identities", params={"person_id": running.people["researcher"]})
    assert "ada" in {row["subject"] for row in rows.json()}


def test_tokens_are_never_logged(running, provider, caplog):
    token = provider.token(sub="stranger")
    with caplog.at_level(0):
        running.chat(token)
        running.chat(token[:-4])
        wait_for(lambda: caplog.text.count("a request has ended") == 2)  # Told after the answer.
    assert token[:40] not in caplog.text
