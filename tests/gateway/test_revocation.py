"""What one person closes ends base answers in every process on the database, whatever is cut."""

import contextlib
import time
from collections.abc import Iterator

import httpx
import pytest

from gateway.cli.tables import in_transaction
from tests.doors import DOORS, Door, Holder
from tests.gateway.conftest import make_settings, run_gateway
from tests.replicas import Stream, Way, replica
from tests.servers import wait_for

TOLERANCE_SECONDS = 0.5
"""For processes that wait for a core: what is timed here is a second, and not the machine."""
SECONDS = 1.0
PATIENT_SECONDS = 30.0
"""On a busy machine a process may know nothing for a second, and says so in place of the reason."""


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    """A gateway whose snapshot may be as old as the parameter says."""
    home = tmp_path_factory.mktemp("revocation")
    given = {"privileged_max_age_seconds": request.param}
    settings = make_settings(request, home, "postgresql", **given)
    with run_gateway(settings) as made:
        made.engines["base"].delay_seconds, made.engines["base"].tokens = 0.01, 100_000
        yield made


@pytest.fixture(scope="module")
def way(running):
    made = Way(running.settings.database_url)
    with made.open():
        yield made


@pytest.fixture(scope="module")
def other(running, way):
    """The address of another process, which reaches the database by a way of its own."""
    with replica(running, way) as url:
        yield url


@pytest.fixture(scope="module")
def holder(running) -> Holder:
    (row,) = running.admin("GET", "/organisations").json()
    person = running.people["researcher"]
    (key,) = running.admin("GET", f"/keys?person_id={person}").json()
    base = running.engines["base"].digest
    return Holder(key["id"], running.grants["researcher"], person, row["id"], base)


@pytest.fixture(autouse=True)
def healed(way):
    yield
    way.is_cut = way.loses_announcements = False


def streams(running, other) -> list[Stream]:
    """Start a base answer in both processes; one that is behind for a moment is asked again."""

    def begin(url: str) -> Stream:
        def tried() -> Stream | None:
            stream = Stream(url, running.keys["researcher"], "smollm2:base")
            wait_for(lambda: stream.has_begun or not stream.is_alive())
            return stream if stream.has_begun else None

        return wait_for(tried, 30)

    return [begin(url) for url in (running.url, other)]


@contextlib.contextmanager
def closed(running, door: Door, holder: Holder) -> Iterator[float]:
    """Close a door; yield when the administrator was answered. It is open again afterwards."""
    method, path, body = door.close(holder)
    answer = running.admin(method, path, json=body)
    assert answer.status_code in (200, 201), answer.text
    try:
        yield time.monotonic()
    finally:
        in_transaction(running.settings, lambda session: door.reopen(session, holder))


@pytest.mark.parametrize("running", [PATIENT_SECONDS], ids=["patient"], indirect=True)
@pytest.mark.parametrize("kind", DOORS)
def test_what_is_closed_ends_answers_in_every_process(running, other, way, holder, kind):
    """Also when what the database announces is lost."""
    door = DOORS[kind]
    way.loses_announcements = True
    answers = streams(running, other)
    with closed(running, door, holder):
        for answer in answers:
            answer.join(20)
            assert not answer.is_alive()
            assert door.code in answer.text
            assert "[DONE]" not in answer.text
        for url in (running.url, other):
            headers = {"authorization": f"Bearer {running.keys['researcher']}"}
            body = {"model": "smollm2:base", "messages": [{"role": "user", "content": "?"}]}
            again = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers)
            assert again.status_code in (401, 403, 503)


@pytest.mark.timed
@pytest.mark.parametrize("running", [SECONDS], ids=["a second"], indirect=True)
@pytest.mark.parametrize("channel", ["announced", "polled", "cut"])
def test_it_takes_a_second_also_where_nothing_comes_through(running, other, way, holder, channel):
    """A process that cannot know stops by itself: its version is older than a second.

    On a busy machine one that can know may be behind for a second all the same, and stops then as
    it must; so whether what is announced or polled comes through is asked again.
    """
    way.loses_announcements = channel == "polled"
    for _ in range(3):
        way.is_cut = False
        answers = streams(running, other)
        way.is_cut = channel == "cut"
        with closed(running, DOORS["grant"], holder) as closed_at:
            for answer in answers:
                answer.join(20)
                assert answer.last_at - closed_at < SECONDS + TOLERANCE_SECONDS
            assert "grant_revoked" in answers[0].text
        is_behind = "not_ready" in answers[1].text
        assert is_behind or channel != "cut"
        if is_behind == (channel == "cut"):
            return
    pytest.fail("what comes through ends no answer by its reason")
