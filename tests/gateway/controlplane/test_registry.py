"""The registry is looked at whenever something may have changed, and seldom otherwise."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway import clock
from gateway.cli.tables import with_database
from gateway.controlplane import registry as module
from gateway.controlplane.registry import LOOK_SECONDS, Look, Registry
from gateway.db import Database
from gateway.identity.changed import Version
from models.marks import Mark
from models.trust import TrustStore, write_trust
from tests.benchmarks.gateway.ours import promote
from tests.models.trusting import TRUST

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MARKS: frozenset[Mark] = frozenset({("keys.json", 1, 2, 3, 4, 5)})


@pytest.fixture
def looks(settings, monkeypatch):
    """The looks that are made at a registry with two releases."""
    promote(settings.home)
    made = []
    look = Registry._look

    def look_and_count(self, now, seen):
        made.append(now)
        return look(self, now, seen)

    monkeypatch.setattr(Registry, "_look", look_and_count)
    return made


def follow(settings, *steps) -> None:
    """Follow twice, so that what the first has changed is seen, and once more after each step."""

    async def main(database: Database) -> None:
        registry = Registry(settings.home, None, database)
        await registry.follow()
        await registry.follow()
        for step in steps:
            step(registry)
            await registry.follow()

    with_database(settings, main)


def test_nothing_is_verified_anew_while_nothing_changes(settings, looks):
    follow(settings, lambda _: None, lambda _: None)
    assert len(looks) == 2


def test_a_trust_store_that_is_replaced_counts_at_once(settings, looks):
    def trust_nobody(_: Registry) -> None:
        write_trust(settings.home, TrustStore(keys=()))

    def nobody_is_trusted(registry: Registry) -> None:
        assert registry.trust == TrustStore(keys=())
        assert registry.releases == ()

    follow(settings, trust_nobody, nobody_is_trusted)
    assert len(looks) == 4  # The last, because the third has withdrawn what was served.


def test_a_look_that_failed_is_made_again(settings, looks, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError

    async def main(database: Database) -> None:
        registry = Registry(settings.home, None, database)
        with monkeypatch.context() as patched:
            patched.setattr(module, "take_over", fail)
            with pytest.raises(OSError):  # noqa: PT011 - the one above
                await registry.follow()
        await registry.follow()

    with_database(settings, main)
    assert len(looks) == 2


def test_a_key_that_expires_is_a_reason_to_look(settings, looks):
    ends = datetime.now(UTC) + timedelta(seconds=30)
    first = TRUST.keys[0].model_copy(update={"expires_at": ends})
    write_trust(settings.home, TrustStore(keys=(first, *TRUST.keys[1:])))
    untils = []
    follow(settings, lambda registry: untils.append(registry._last.until))
    assert untils == [ends]


def test_a_look_goes_by_the_clock_that_is_never_set_back(settings, looks, monkeypatch):
    """As if the wall's clock had been set back by two days since the start."""
    monkeypatch.setattr(clock, "_AHEAD", clock._AHEAD + 2 * 86_400)
    follow(settings)
    assert min(looks) > datetime.now(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    ("given", "stands"),
    [
        ({}, True),
        ({"version": Version(7, "other")}, False),
        ({"version": None}, False),
        ({"marks": frozenset()}, False),
        ({"marks": None}, False),
        ({"now": NOW + timedelta(seconds=60)}, False),
        ({"now": NOW - timedelta(days=1)}, True),
    ],
)
def test_what_a_look_has_found_stands_while(given, stands, monkeypatch):
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
    look = Look(Version(7, "mark"), MARKS, 100.0, NOW + timedelta(seconds=60))
    asked = {"version": Version(7, "mark"), "marks": MARKS, "now": NOW} | given
    assert look.stands(**asked) is stands
    # Nobody can set this clock, and after a while it is looked at whatever is the same.
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0 + LOOK_SECONDS)
    assert not look.stands(**asked)


def test_what_cannot_be_told_never_stands(monkeypatch):
    look = Look(None, None, module.time.monotonic(), None)
    assert not look.stands(None, None, NOW)
