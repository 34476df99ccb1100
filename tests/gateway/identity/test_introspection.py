"""Opaque tokens: the issuer's word for them, believed for seconds, and never guessed."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from pydantic import ValidationError

from gateway.setting_types import IssuerSetting
from gateway.settings import Settings
from tests.fakes.provider import AUDIENCE
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.identity.test_tokens import bind


@pytest.fixture(scope="module")
def running(request, tmp_path_factory, provider):
    home = tmp_path_factory.mktemp("opaque")
    secret = home / "client.secret"
    secret.write_text("s3cret/+\n")
    issuer = IssuerSetting(
        name="lab",
        issuer=provider.url,
        audience=AUDIENCE,
        client_id="air:lock",
        client_secret_file=secret,
        introspection=True,
    )
    with run_gateway(make_settings(request, home, "sqlite"), issuers=(issuer,)) as made:
        bind(made, "ada", "researcher")
        made.wait_until_seen()
        yield made


def answer(provider, **changes) -> dict:
    made = provider.claims(active=True, token_type="Bearer", **changes)
    made.pop("iat", None)
    return made


def test_an_active_token_opens_what_the_person_may_and_is_asked_for_once(running, provider):
    provider.active["opaque-1"] = answer(provider)
    before = len(provider.introspected)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: running.chat("opaque-1", "smollm2:base"), range(16)))
    assert {one.status_code for one in found} == {200}
    asked = provider.introspected[before:]
    assert len(asked) == 1
    assert asked[0]["token"] == "opaque-1"
    words = base64.b64decode(asked[0]["authorization"].removeprefix("Basic ")).decode()
    assert words == "air%3Alock:s3cret%2F%2B"


ODD = {
    "inactive": {"active": False},
    "active as a text": {"active": "true"},
    "active as a number": {"active": 1},
    "another audience": {"aud": "https://other.example"},
    "no audience": {"aud": ...},
    "another issuer": {"iss": "https://evil.example"},
    "no subject": {"sub": ...},
    "a subject that is a list": {"sub": ["ada"]},
    "no end": {"exp": ...},
    "an end that is a text": {"exp": "9999999999"},
    "not yet": {"nbf": 2**33},
    "another type": {"token_type": "DPoP"},
}


@pytest.mark.parametrize("name", list(ODD))
def test_what_the_issuer_leaves_out_or_denies_is_refused(running, provider, name):
    document = answer(provider) | ODD[name]
    provider.active[name] = {key: value for key, value in document.items() if value is not ...}
    before = len(provider.introspected)
    for _ in range(3):
        refused = running.chat(name.replace(" ", "-") if name not in provider.active else name)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_token")
    assert len(provider.introspected) == before + 1, "the refusal is remembered for a while"


def test_one_that_is_bound_to_its_clients_key_says_so_and_is_asked_for_once(running, provider):
    provider.active["bound"] = answer(provider, cnf={"x5t#S256": "k"})
    before = len(provider.introspected)
    for _ in range(2):
        refused = running.chat("bound")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "bound_token")
    assert len(provider.introspected) == before + 1


def test_an_expired_one_says_so(running, provider):
    provider.active["old"] = answer(provider, exp=int(time.time()) - 1)
    assert running.chat("old").json()["error"]["code"] == "expired_token"


def test_what_was_believed_is_asked_again_after_seconds(running, provider):
    provider.active["short"] = answer(provider)
    assert running.chat("short").status_code == 200
    del provider.active["short"]
    assert running.chat("short").status_code == 200
    bearer = running.gateway.issuers.bearer
    for seen, kept in list(bearer._kept.items()):
        assert kept.until <= time.time() + 5
        bearer._kept[seen] = kept._replace(until=0)
    assert running.chat("short").json()["error"]["code"] == "invalid_token"


@pytest.mark.parametrize("mode", ["down", "slow"])
def test_an_issuer_that_does_not_answer_is_503_and_is_not_remembered(
    running, provider, mode, monkeypatch
):
    monkeypatch.setattr("gateway.identity.introspection.TIMEOUT_SECONDS", 0.2)
    provider.active[mode] = answer(provider)
    provider.mode = mode
    try:
        refused = running.chat(mode)
    finally:
        provider.mode = "ok"
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "provider_unavailable")
    assert running.chat(mode).status_code == 200
    line = 'airlock_identity_provider_faults_total{issuer="lab",question="introspection"}'
    assert running.metric(line) >= 1


def test_an_issuer_whose_endpoint_is_no_address_is_503(running, provider, monkeypatch):
    assert running.chat("somewhere").status_code == 401
    issuer = running.gateway.issuers.by_issuer[provider.url]
    odd = issuer._known.document | {"introspection_endpoint": f"{provider.url}/\n"}
    monkeypatch.setattr(issuer, "_known", replace(issuer._known, document=odd))
    refused = running.chat("nowhere")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "provider_unavailable")


def test_signed_tokens_of_the_same_issuer_are_verified_here(running, provider):
    before = len(provider.introspected)
    assert running.chat(provider.token()).status_code == 200
    assert len(provider.introspected) == before


GIVEN = {"name": "lab", "issuer": "https://sso.example", "audience": AUDIENCE}
SECRET = {"client_id": "c", "client_secret_file": "/secret", "introspection": True}


@pytest.mark.parametrize(
    ("issuers", "why"),
    [
        ([GIVEN | {"introspection": True}], "introspection takes"),
        ([GIVEN | {"client_id": AUDIENCE}], "audience must not be client_id"),
        ([GIVEN | {"client_secret_file": "/x"}], "takes client_id"),
        ([GIVEN | {"algorithms": ["HS256"]}], "Input should be"),
        ([GIVEN | {"algorithms": ["none"]}], "Input should be"),
        ([GIVEN | {"algorithms": []}], "at least 1"),
        ([GIVEN | {"issuer": "http://sso.example"}], "pattern"),
        ([GIVEN | {"issuer": "http://localhost.evil.example"}], "pattern"),
        ([GIVEN, GIVEN | {"name": "b"}], "same issuer"),
        ([GIVEN, GIVEN | {"issuer": "https://b.example"}], "same name"),
        ([GIVEN | SECRET, GIVEN | SECRET | {"name": "b", "issuer": "https://b.example"}],
         "one issuer has opaque tokens"),
    ],
)  # fmt: skip
def test_settings_that_would_be_unsafe_are_refused(tmp_path, issuers, why):
    with pytest.raises(ValidationError, match=why):
        Settings(home=tmp_path, issuers=issuers)
