"""The exported schemas are what the code says."""

from pathlib import Path

import jsonschema
import pytest

from models.schemas import schemas
from tests.models.test_gate import report

DOCS = Path(__file__).resolve().parents[2] / "docs/schemas"


@pytest.mark.parametrize("name", list(schemas()))
def test_the_exported_schema_is_current(name):
    assert (DOCS / name).read_text() == schemas()[name], "run `make schemas`"


def test_a_report_fits_its_schema():
    import json

    schema = json.loads(schemas()["report.schema.json"])
    jsonschema.validate(report().model_dump(mode="json"), schema)
