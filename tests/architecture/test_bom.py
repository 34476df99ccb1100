"""Bills of materials and licences: complete, valid, and nothing that is not allowed."""

import json
import re
from datetime import UTC, datetime

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from requirements import bom

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize("plane", bom.PLANES)
def test_every_licence_is_allowed(plane):
    refused = {each.name: each.licence for each in bom.packages(plane) if not each.is_allowed}
    assert not refused, "say in requirements/licences.toml why it is well, or do without it"


def test_every_exception_is_of_something_installed_that_needs_it():
    installed = {each.name for plane in bom.PLANES for each in bom.packages(plane)}
    assert bom.RULES["exceptions"].keys() <= installed
    assert all(re.match(r"\S+: \w", why) for why in bom.RULES["exceptions"].values())


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR Apache-2.0) AND BSD-3-Clause", True),
        ("GPL-3.0-only", False),
        ("AGPL-3.0-only OR SSPL-1.0", False),
        ("as you like", False),
        ("", False),
    ],
)
def test_an_expression_is_read_as_it_is_meant(expression, allowed):
    assert bom.is_allowed(expression) is allowed


def test_the_same_lock_gives_the_same_bill():
    assert bom.bill("dev", NOW) == bom.bill("dev", NOW)


@pytest.mark.parametrize("plane", bom.PLANES)
def test_the_bill_is_valid_and_holds_the_whole_lock(plane):
    text = bom.bill(plane, NOW)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = json.loads(text)
    lock = (bom.HERE / f"{plane}.txt").read_text()
    pinned = set(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", lock, re.MULTILINE))
    listed = {(each["name"], each["version"]) for each in found["components"]}
    assert listed == {(name.lower(), version) for name, version in pinned}
    hashes = {one["value"] for each in found["components"] for one in each["properties"]}
    assert hashes == set(bom.HASH.findall(lock))
