"""GA4GH visas: odd ones are refused, good ones become evidence, ours verify elsewhere."""

import json
import time
from datetime import UTC, datetime
from urllib.parse import quote

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from gateway.policy.evidence import AssertedBy
from gateway.setting_types import VisaIssuerSetting
from gateway.settings import IssuerSetting
from tests.fakes.provider import FakeProvider, b64, sign
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.workflow import Workflow
from tests.servers import free_port, serving

LAB = IssuerSetting(name="lab", issuer="https://lab.example")
DATA = "https://data.example/capitals"


class Issuer(FakeProvider):
    """Signs visas about Ada, as its own subject `ada`."""

    def visa(self, header=None, said=None, kid="ec", alg="ES256", key=None, **changes) -> str:
        now = int(time.time())
        inner = {"type": "AffiliationAndRole", "asserted": now - 100, "by": "so",
                 "value": "faculty@lab.example", "source": "https://lab.example"}  # fmt: skip
        head = {"typ": "vnd.ga4gh.visa+jwt", "jku": f"{self.url}/jwks"} | (header or {})
        claims = {"aud": ..., "client_id": ..., "exp": now + 3600}
        inner = {name: value for name, value in (inner | (said or {})).items() if value is not ...}
        return self.token(kid, alg, head, key, **claims | {"ga4gh_visa_v1": inner} | changes)

    def linked(self, *pairs, by="system") -> str:
        value = ";".join(f"{quote(sub, safe='')},{quote(iss, safe='')}" for iss, sub in pairs)
        return self.visa(said={"type": "LinkedIdentities", "value": value, "by": by})


@pytest.fixture(scope="module")
def issuer():
    fake = Issuer()
    with serving(fake, lifespan="off") as fake.url:
        yield fake


# What is written is evidence, whose rows other tests have on both kinds.
@pytest.fixture(scope="module", params=["postgresql"])
def office(request, tmp_path_factory, issuer):
    home, port = tmp_path_factory.mktemp("visas"), free_port()
    address = f"http://127.0.0.1:{port}"
    trusted = VisaIssuerSetting(
        issuer=issuer.url, jwks_url=f"{issuer.url}/jwks", domains={DATA: "capitals"}
    )
    # Itself, as another gateway would know it.
    own = VisaIssuerSetting(
        issuer=address,
        jwks_url=f"{address}/visas/jwks.json",
        algorithms=("ES256",),
        domains={f"{address}/domains/capitals": "capitals"},
    )
    settings = make_settings(request, home, request.param, public_url=address)
    given = {"issuers": (LAB,), "visa_issuers": (trusted, own)}
    with run_gateway(settings, port=port, **given) as running:
        workflow = Workflow(running)
        ada = {"issuer": "lab", "subject": "ada@lab", "person_id": workflow.people["ada"]}
        workflow.admin("POST", "/identities", **ada)
        yield workflow


def bring(office, *visas, dry_run=True, who="ada") -> list[dict]:
    path = f"/me/visas?dry_run={str(dry_run).lower()}"
    return office.must(who, "POST", path, visas=list(visas))


def links(issuer) -> str:
    return issuer.linked((LAB.issuer, "ada@lab"))


def odd(issuer: Issuer) -> dict[str, str]:
    now, other = int(time.time()), RSAKey.generate_key(2048, {"kid": "rsa"})
    own = ECKey.generate_key("P-256", {"kid": "ec"})
    return {
        "no signature": issuer.visa().rpartition(".")[0] + ".",
        "alg none": ".".join(
            (b64(json.dumps({"alg": "none", "kid": "ec"})), *issuer.visa().split(".")[1:])
        ),
        "signed with the public key": sign(
            {"alg": "HS256", "typ": "JWT", "kid": "rsa"},
            json.dumps(issuer.claims()),
            issuer.public_pem("rsa"),
        ),
        "somebody else's key": issuer.visa(key=other, kid="rsa", alg="RS256"),
        "a key set of its own": issuer.visa(header={"jku": "https://evil.example/jwks"}, key=own),
        "a key set that is no text": issuer.visa(header={"jku": ["x"]}),
        "a key in the header": issuer.visa(header={"jwk": own.as_dict(private=False)}, key=own),
        "a certificate in the header": issuer.visa(header={"x5c": ["MII"]}),
        "a critical header": issuer.visa(header={"crit": ["b64"], "b64": False}),
        "an unknown key": issuer.visa(header={"kid": "none"}),
        "no key id": issuer.visa(header={"kid": ...}),
        "another algorithm's key": issuer.visa(kid="rsa", alg="PS256"),
        "an algorithm that is not listed": issuer.visa(kid="ed", alg="Ed25519"),
        "another issuer": issuer.visa(iss="https://evil.example"),
        "an issuer with a slash more": issuer.visa(iss=f"{issuer.url}/"),
        "an issuer that is a list": issuer.visa(iss=[issuer.url]),
        "expired": issuer.visa(exp=now - 3600),
        "no end": issuer.visa(exp=...),
        "an end beyond every calendar": issuer.visa(exp=2**39),
        "an end too long for a float": issuer.visa(exp=10**400),
        "no beginning": issuer.visa(iat=...),
        "from tomorrow": issuer.visa(iat=now + 86_400, exp=now + 90_000),
        "not before tomorrow": issuer.visa(nbf=now + 86_400),
        "asserted tomorrow": issuer.visa(said={"asserted": now + 86_400}),
        "asserted never": issuer.visa(said={"asserted": ...}),
        "asserted in words": issuer.visa(said={"asserted": "2026-06-01"}),
        "an audience": issuer.visa(aud="https://airlock.example"),
        "an access token": issuer.visa(header={"typ": "at+jwt"}),
        "an ID token": issuer.token(header={"typ": "JWT"}),
        "no source": issuer.visa(said={"source": ...}),
        "no value": issuer.visa(said={"value": ""}),
        "no type": issuer.visa(said={"type": ...}),
        "no visa but a text": issuer.visa(ga4gh_visa_v1="AffiliationAndRole"),
        "no subject": issuer.visa(sub=...),
        "another person's": issuer.visa(sub="eve"),
        "a type of nobody's": issuer.visa(said={"type": "https://x.example/Custom"}),
        "a data set that is no domain": issuer.visa(
            said={"type": "ControlledAccessGrants", "value": "https://data.example/other"}
        ),
        "conditions that nothing meets": issuer.visa(
            said={"conditions": [[{"type": "ResearcherStatus", "by": "const:so"}]]}
        ),
        "conditions that are no list": issuer.visa(said={"conditions": {"type": "x"}}),
    }


def test_an_odd_visa_is_refused_and_leaves_nothing(office, issuer):
    visas = odd(issuer)
    names = list(visas)
    for begin in range(0, len(names), 30):
        some = names[begin : begin + 30]
        found = bring(office, links(issuer), *(visas[name] for name in some), dry_run=False)
        assert found[0]["outcome"] == "used"
        for name, each in zip(some, found[1:], strict=True):
            assert each["outcome"] == "refused", name
            assert each["reason"], name
    assert office.admin("GET", f"/evidence?person_id={office.people['ada']}").json() == []


def test_a_visa_is_taken_only_about_whom_it_names(office, issuer):
    (alone,) = bring(office, issuer.visa())
    assert alone["reason"].startswith("it is about somebody else")
    for other in (
        issuer.linked((LAB.issuer, "eve@lab")),
        issuer.linked(("https://evil.example", "ada@lab")),
        issuer.linked((LAB.issuer, "ada@lab"), by="self"),
    ):
        _, refused = bring(office, other, issuer.visa())
        assert refused["outcome"] == "refused"
    _, taken = bring(office, links(issuer), issuer.visa())
    assert taken["outcome"] == "added"
    _, refused = bring(office, links(issuer), issuer.visa(), who="ivy")
    assert refused["outcome"] == "refused"


def test_nobody_elses_visa_meets_a_condition(office, issuer):
    clause = [[{"type": "ResearcherStatus", "by": "const:so"}]]
    said = {"type": "ControlledAccessGrants", "value": DATA, "by": "dac", "conditions": clause}
    status = {"type": "ResearcherStatus", "by": "so", "value": "https://doi.org/x"}
    for sub, outcome in (("eve", "refused"), ("ada", "added")):
        visas = issuer.visa(said=said), issuer.visa(sub=sub, said=status)
        _, conditional, other = bring(office, links(issuer), *visas)
        assert conditional["outcome"] == other["outcome"] == outcome


def test_a_visa_becomes_evidence_that_a_reviewer_accepts_for_as_long_as_it_holds(office, issuer):
    visas = [
        links(issuer),
        issuer.visa(kid="rsa", alg="RS256", header={"jku": ...}),
        issuer.visa(said={"type": "ResearcherStatus", "value": "https://doi.org/x", "by": "peer"}),
        issuer.visa(said={"type": "ControlledAccessGrants", "value": DATA, "by": "dac"}),
        issuer.visa(said={"type": "AcceptedTermsAndPolicies", "value": "https://x.example/t"}),
        issuer.visa(said={"by": ..., "value": "student@lab.example"}),
    ]
    tried = bring(office, *visas)
    mine = f"/evidence?person_id={office.people['ada']}"
    assert office.admin("GET", mine).json() == [], "a dry run"
    assert [each["verifies"] for each in tried[1:]] == [
        ["affiliation"], ["affiliation"], ["oversight"], [], [],
    ]  # fmt: skip
    done = bring(office, *visas, dry_run=False)
    assert [each["outcome"] for each in done] == ["used", *["added"] * 5]
    assert {each["outcome"] for each in bring(office, *visas, dry_run=False)} == {"used", "known"}
    rows = {row["id"]: row for row in office.admin("GET", mine).json()}
    assert len(rows) == 5
    assert {row["accepted_at"] for row in rows.values()} == {None}
    assert {row["source"].partition(": ")[0] for row in rows.values()} == {
        f"signed by {issuer.url}"
    }
    assert office.admin("GET", f"/grants?person_id={office.people['ada']}").json() == []
    access = rows[done[3]["evidence_id"]]
    assert (access["kind"], access["domain"], access["asserted_by"]) == (
        "access_visa", "capitals", "dac",
    )  # fmt: skip
    now = datetime.now(UTC).isoformat()
    path = f"/evidence/{access['id']}/accept"
    given = {"asserted_at": access["asserted_at"], "no_conflict": True}
    end = done[3]["expires_at"]
    for wrong in (
        {"asserted_by": "so", "expires_at": end},
        {"asserted_by": "dac", "expires_at": "2100-01-01T00:00:00Z"},
        {"asserted_by": "dac", "expires_at": now},
    ):
        assert code(office.call("ivy", "POST", path, **given | wrong)) == (400, "invalid_request")
    right = given | {"asserted_by": "dac", "expires_at": end}
    assert code(office.call("ada", "POST", path, **right)) == (403, "not_permitted")
    assert office.must("ivy", "POST", path, **right)["accepted_by"] == office.people["ivy"]
    terms = f"/evidence/{done[4]['evidence_id']}/accept"
    nothing = office.call("ivy", "POST", terms, **given | {"asserted_by": "so", "expires_at": end})
    assert code(nothing) == (400, "invalid_request"), "it verifies nothing"


def test_nobody_types_a_visa_in(office):
    for kind in ("affiliation_visa", "researcher_visa", "terms_visa"):
        answer = office.call("ada", "POST", "/evidence", kind=kind, source="me")
        assert code(answer) == (400, "invalid_request")


def test_a_visa_of_ours_verifies_elsewhere_and_grants_nothing_there(office):
    refused = office.call("ada", "POST", "/me/passport")
    assert code(refused) == (409, "conflict"), "no grant counts"
    office.verify()
    grant = office.to_grant()["grants"][0]
    passport = office.must("ada", "POST", "/me/passport")
    published = httpx.get(f"{office.running.url}/visas/jwks.json").json()
    assert not [key for key in published["keys"] if "d" in key]
    keys = KeySet.import_key_set(published)
    tokens = [jwt.decode(text, keys, algorithms=["ES256"]) for text in passport["visas"]]
    linked, access = tokens
    assert access.header["jku"] == f"{office.running.url}/visas/jwks.json"
    assert (access.claims["iss"], access.claims["sub"]) == (
        office.running.url, office.people["ada"],
    )  # fmt: skip
    said = access.claims["ga4gh_visa_v1"]
    assert (said["type"], said["by"]) == ("ControlledAccessGrants", "dac")
    assert said["value"] == f"{office.running.url}/domains/capitals"
    assert time.time() < access.claims["exp"] <= time.time() + 3600
    assert "aud" not in access.claims
    assert "ada%40lab,https%3A%2F%2Flab.example" in linked.claims["ga4gh_visa_v1"]["value"]
    before = len(office.admin("GET", "/grants?limit=1000").json())
    first, second = bring(office, *passport["visas"], dry_run=False)
    assert (first["outcome"], second["outcome"], second["domain"]) == ("used", "added", "capitals")
    assert second["asserted_by"] == AssertedBy.ACCESS_COMMITTEE
    assert len(office.admin("GET", "/grants?limit=1000").json()) == before
    office.admin("POST", f"/grants/{grant['id']}/revoke")
    assert code(office.call("ada", "POST", "/me/passport")) == (409, "conflict")
    tags = {row["tag"] for row in office.admin("GET", "/audit-events?tag=transfer").json()}
    assert {"transfer:visas:issued", "transfer:visas:imported"} <= tags


def test_an_administrator_brings_visas_for_a_person(office, issuer):
    path = f"/people/{office.people['ada']}/visas"
    given = {"visas": [links(issuer), issuer.visa()]}
    answer = office.admin("POST", path, **given).json()
    assert [each["outcome"] for each in answer] == ["used", "added"]
    missing = office.running.admin("POST", "/people/none/visas", json=given)
    assert code(missing) == (404, "not_found")
    assert code(office.running.admin("POST", path, json={"visas": []})) == (400, "invalid_request")


def test_an_issuer_that_does_not_answer_is_no_reason_to_call_a_visa_bad(office, issuer):
    known = office.running.gateway.issuers.visas._known
    known.clear()
    issuer.mode = "down"
    try:
        answer = office.call("ada", "POST", "/me/visas", visas=[issuer.visa()])
        assert code(answer) == (503, "provider_unavailable")
        asked = issuer.asked
        office.call("ada", "POST", "/me/visas", visas=[issuer.visa()])
        assert issuer.asked == asked, "not again at once"
    finally:
        issuer.mode = "ok"
        known.clear()


def test_an_issuer_whose_keys_are_at_no_address_does_not_answer(office, issuer, monkeypatch):
    visas = office.running.gateway.issuers.visas
    nowhere = VisaIssuerSetting(issuer=issuer.url, jwks_url="https://visas.example:0x/")
    monkeypatch.setattr(visas, "by_issuer", {issuer.url: nowhere})
    monkeypatch.setattr(visas, "_known", {})
    visa = issuer.visa(header={"jku": ...})
    answer = office.call("ada", "POST", "/me/visas", visas=[visa])
    assert code(answer) == (503, "provider_unavailable")
