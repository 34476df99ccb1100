"""The admin API against its OpenAPI document: no 5xx, no answer that it does not describe."""

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok

# Answers that any request can get, whatever the document says of its path.
ANY = {"401", "405", "413", "415"}


def test_every_operation_answers_as_documented(fresh):
    document = httpx.get(f"{fresh.url}/admin/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    found = list(schema.get_all_operations())
    operations = [result.ok() for result in found if isinstance(result, Ok)]
    assert len(operations) == len(found)
    assert len(operations) >= 20
    headers = {"authorization": f"Bearer {fresh.admin_key}"}
    # Whatever is asked of it here must not end the tests' own keys and people.
    kept = {"/admin/v1/keys/{key_id}/revoke", "/admin/v1/keys/{key_id}/rotate"}

    @settings(
        max_examples=400,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def ask(data) -> None:
        operation = data.draw(st.sampled_from(operations))
        if operation.path in kept:
            return
        case = data.draw(operation.as_strategy())
        answer = case.call(base_url=fresh.url, headers=headers)
        assert answer.status_code < 500, (operation.label, answer.text)
        described = set(operation.definition.raw["responses"])
        assert str(answer.status_code) in described | ANY, (operation.label, answer.text)
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    ask()


def test_a_zero_byte_is_a_bad_request_and_not_a_database_that_is_down(fresh):
    named = {"name": "a\0b", "organisation": "x"}
    assert fresh.admin("POST", "/people", json=named).status_code in (201, 400)
    assert fresh.admin("GET", "/keys", params={"person_id": "a\0b"}).status_code in (200, 400)
