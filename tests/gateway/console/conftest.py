"""A gateway and a browser for a module of the console's tests, and the people who judge."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.gateway.conftest import run_gateway
from tests.gateway.console.reading import Reader, chromium
from tests.gateway.identity.test_login import settings_with_provider

ROLES = {
    "ivy": ["identity_reviewer"],
    "dan": ["domain_reviewer:capitals"],
    "app": ["approver"],
    "root": ["administrator"],
}


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("console")
    with (
        settings_with_provider(
            request, home, "sqlite", 900, lab="The Lab", board="The Board"
        ) as settings,
        run_gateway(settings, port=settings.port) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def browser():
    with chromium() as made:
        yield made


@pytest.fixture
def opened(running, browser):
    """Open a browser for somebody; nothing may have gone wrong on any page at the end."""
    readers = []

    def open_for(person: str, **given) -> Reader:
        readers.append(Reader.open(browser, running.url, person, **given))
        return readers[-1]

    yield open_for
    for reader in readers:
        assert reader.problems == [], reader.person
        reader.context.close()


@pytest.fixture(scope="module")
def board(running, browser):
    """The people who judge, logged in, with their duties."""
    readers = {
        # Ivy logs in strongly when a step asks for it.
        who: Reader.open(browser, running.url, who).log_in("board", strongly=who != "ivy")
        for who in ROLES
    }
    people = {row["name"]: row["id"] for row in running.admin("GET", "/people").json()}
    for who, roles in ROLES.items():
        person = people[f"Person {who}"]
        assert running.admin("PUT", f"/people/{person}/roles", json={"roles": roles}).is_success
    for row in running.admin("GET", "/organisations").json():
        given = {"state": "verified"}
        assert running.admin("PATCH", f"/organisations/{row['id']}", json=given).is_success
    terms = {
        "text": "Be careful.",
        "mandatory_from": (datetime.now(UTC) - timedelta(days=1)).isoformat(),
    }
    assert running.admin("POST", "/terms", json=terms).is_success
    yield readers
    for who, reader in readers.items():
        assert reader.problems == [], who
        reader.context.close()
