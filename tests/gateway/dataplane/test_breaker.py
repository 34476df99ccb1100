"""The circuit breaker, and how much an engine that returns is given."""

from gateway.dataplane.balance import least_loaded
from gateway.dataplane.breaker import MAX_OPEN_SECONDS, Breaker
from gateway.dataplane.catalogue import EngineAddress
from gateway.dataplane.replica import Replica


def broken(now: float = 0.0) -> Breaker:
    breaker = Breaker(2, 1.0)
    breaker.fail(now, "alice")
    assert breaker.allows(now)
    breaker.fail(now, "bob")
    return breaker


def test_it_opens_for_several_people_and_lets_one_request_try():
    breaker = broken()
    assert not breaker.allows(0.9)
    assert breaker.allows(1.0)
    breaker.begin()
    assert not breaker.allows(1.0), "one at a time"
    assert breaker.succeed()
    assert breaker.allows(1.0)
    assert not breaker.succeed(), "it had come back already"


def test_one_person_cannot_open_it():
    breaker = Breaker(2, 1.0)
    for _ in range(100):
        breaker.fail(0.0, "mallory")
    assert breaker.state == "closed"


def test_each_failed_trial_doubles_the_wait_up_to_a_bound():
    breaker, now, waits = broken(), 0.0, []
    for _ in range(8):
        began = now
        while not breaker.allows(now):
            now += 0.25
        waits.append(now - began)
        breaker.begin()
        breaker.fail(now, "alice")
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_what_fails_that_was_asked_before_it_opened_is_no_trial():
    breaker = broken()
    for number in range(20):
        breaker.fail(0.5, f"person {number}")
    assert breaker.allows(1.0)
    breaker.begin()
    breaker.fail(1.0, "alice")
    assert breaker.allows(3.0), "it is doubled once"
    breaker.begin()
    breaker.abandon()
    breaker.fail(3.0, "bob")
    assert not breaker.allows(6.9), "a trial beside which another request has ended"


def test_it_waits_no_longer_than_its_bound_after_thousands_of_failed_trials():
    breaker, now = broken(), 0.0
    for _ in range(3000):
        now += MAX_OPEN_SECONDS
        assert breaker.allows(now)
        breaker.begin()
        breaker.fail(now, "alice")
    assert not breaker.allows(now)


def test_a_trial_without_a_verdict_leaves_room_for_another():
    breaker = broken()
    breaker.begin()
    breaker.abandon()
    assert breaker.allows(1.0)


def test_an_engine_that_returns_gets_its_share_slowly():
    address = EngineAddress("http://x:1", "d", "k", None)
    old, new = (Replica(address, Breaker(3, 1.0)) for _ in range(2))
    new.returned_at = 100.0
    given = {old: 0, new: 0}
    for _ in range(22):
        chosen = least_loaded([old, new], 101.0, 10.0)
        chosen.in_flight += 1
        given[chosen] += 1
    assert given[new] in (1, 2), "a tenth of the time, a tenth of the share"
    for replica in given:
        replica.in_flight = 0
    for _ in range(20):
        least_loaded([old, new], 111.0, 10.0).in_flight += 1
    assert old.in_flight == new.in_flight == 10
