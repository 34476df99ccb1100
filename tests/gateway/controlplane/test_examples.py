"""The OpenAPI document's examples: every operation with a body has one, and it is valid."""

import jsonschema
import pytest

from gateway.app import create_app
from gateway.controlplane.examples import BODIES
from gateway.settings import Settings


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> dict:
    return create_app(Settings(home=tmp_path_factory.mktemp("home"))).http.openapi()


def test_every_operation_with_a_body_has_an_example(document):
    with_body = {
        (method, path.removeprefix("/admin/v1"))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    }
    assert with_body == set(BODIES)


@pytest.mark.parametrize(("method", "path"), list(BODIES))
def test_an_example_is_valid_against_its_schema(document, method, path):
    content = document["paths"][f"/admin/v1{path}"][method]["requestBody"]["content"]
    schema = content["application/json"]["schema"] | {"components": document["components"]}
    checker = jsonschema.Draft202012Validator(schema)
    example = content["application/json"]["example"]
    assert list(checker.iter_errors(example)) == []
    assert list(checker.iter_errors({**example, "no such field": 1})) != []
