"""What people and organisations may use; time is an argument."""

import threading
import time

import httpx
import msgspec
import pytest

from gateway.dataplane.accounts import Others
from gateway.dataplane.answers import Usage
from gateway.dataplane.endpoints import ENDPOINTS
from gateway.dataplane.http import ClientGoneError
from gateway.dataplane.limits import DAY, MINUTE, Limits, Moment, Reservation, estimate
from gateway.dataplane.outcome import Outcome
from gateway.dataplane.wire.request import decode
from gateway.errors import (
    EngineTimeoutError,
    GrantRevokedError,
    NotReadyError,
    QuotaExceededError,
    RateLimitedError,
    ReleaseWithdrawnError,
)
from gateway.http_errors import error_headers
from gateway.identity.principal import Principal
from gateway.identity_errors import InsufficientScopeError
from gateway.limit_errors import TooManyTokensError
from gateway.policy.grants import Standing, TierTerms
from gateway.policy.key_terms import KeyLimits, KeyTerms
from tests.gateway.controlplane.test_admin_api import code
from tests.servers import wait_for

START = Moment(1000.0, 20_000 * DAY + 60.0)
TERMS = {
    "requests_per_minute": 5,
    "tokens_per_minute": 100,
    "tokens_per_day": 250,
    "max_concurrent": 3,
    "organisation_multiple": 2,
}


def caller(
    person: str = "ada",
    organisation: str = "lab",
    key: str = "k1",
    own: KeyLimits | None = None,
    **terms,
) -> Principal:
    tier = TierTerms("public", grantable=False, capabilities=frozenset(), **{**TERMS, **terms})
    narrowed = KeyTerms(limits=own)
    return Principal(key, person, Standing(tier, True, organisation), (), narrowed)


def later(seconds: float, start: Moment = START) -> Moment:
    return Moment(start.monotonic + seconds, start.wall + seconds)


def answered(prompt: int, completion: int, events: int = 0) -> Outcome:
    return Outcome(asked_at=1.0, usage=Usage(prompt, completion), events=events)


def shown(reservation: Reservation) -> dict[str, str]:
    """The headers, by name."""
    return dict(line.split(": ") for line in reservation.lines().splitlines())


def enter(limits: Limits, who: Principal, now: Moment = START) -> Reservation:
    """A request that has its place."""
    reservation = limits.reserve(who, now)
    reservation.enter()
    return reservation


def spend(limits: Limits, who: Principal, now: Moment = START, tokens: int = 0) -> None:
    """One whole request."""
    reservation = enter(limits, who, now)
    try:
        reservation.take(tokens, 0)
    finally:
        reservation.settle(answered(tokens, 0))


def test_requests_of_a_minute_over_all_keys_of_a_person():
    limits = Limits()
    for index in range(5):
        spend(limits, caller(key=f"k{index}"))
    with pytest.raises(RateLimitedError) as refused:
        spend(limits, caller(), later(59))
    assert refused.value.retry_after_seconds == 1
    spend(limits, caller(), later(60))
    spend(limits, caller("grace"))


@pytest.mark.parametrize("limit", ["requests", "tokens"])
def test_who_used_up_a_minute_is_told_to_wait_for_its_end(limit):
    limits = Limits()
    for tokens in (20,) * 5 if limit == "requests" else (100,):
        spend(limits, caller(), tokens=tokens)
    for after, wait in ((0, "60"), (18, "42"), (59.9, "1")):
        with pytest.raises(RateLimitedError, match=f"{limit} per minute") as refused:
            enter(limits, caller(), later(after)).take(1, 0)
        assert error_headers(refused.value)["retry-after"] == wait


OWN = {
    "requests per minute": (KeyLimits(requests_per_minute=2), RateLimitedError),
    "requests at a time": (KeyLimits(max_concurrent=2), RateLimitedError),
    "tokens per minute": (KeyLimits(tokens_per_minute=25), RateLimitedError),
    "tokens per day": (KeyLimits(tokens_per_day=25), QuotaExceededError),
}


@pytest.mark.parametrize(("own", "error"), list(OWN.values()), ids=list(OWN))
def test_a_keys_own_limit_holds_for_it_alone(own, error):
    limits, narrow = Limits(), caller(key="ci", own=own)
    for _ in range(2):
        enter(limits, narrow).take(10, 0)

    def again(who: Principal) -> None:
        reservation = limits.reserve(who, START)
        try:
            reservation.enter()
            reservation.take(10, 0)
        finally:
            reservation.settle(answered(0, 0))

    with pytest.raises(error):
        again(narrow)
    again(caller(key="laptop"))
    again(caller(key="other", own=own))


def test_the_tightest_limit_wins_and_a_key_gets_nothing_beyond_its_owner():
    limits = Limits()
    wide = caller(key="wide", own=KeyLimits(requests_per_minute=1000, tokens_per_minute=1000))
    for _ in range(5):
        spend(limits, wide, tokens=1)
    with pytest.raises(RateLimitedError):
        limits.reserve(wide, START).enter()
    with pytest.raises(RateLimitedError):
        limits.reserve(caller(key="other"), START).enter()


def test_many_accounts_are_looked_through_now_and_then(monkeypatch):
    """Those of today cannot be dropped, and whoever asks must not pay for them again and again."""
    monkeypatch.setattr("gateway.dataplane.limits.IDLE_ACCOUNTS", 8)
    limits, sweeps = Limits(), []
    sweep = limits._sweep

    def counted() -> None:
        sweeps.append(1)
        sweep()

    monkeypatch.setattr(limits, "_sweep", counted)
    now = Moment(time.monotonic(), time.time())
    names = [f"person {number}" for number in range(20)]
    for who in [caller(name, "", key=name) for name in names] * 3:
        enter(limits, who, now).settle(Outcome())
    assert len(sweeps) <= 3
    assert [account.requests for account in limits._accounts.values()] == [3] * len(names)


def test_who_comes_back_after_their_account_was_dropped_counts_in_the_new_one():
    """Else their requests would count where nobody looks, and another of their keys anew."""
    limits = Limits()
    now = Moment(time.monotonic(), time.time())
    before = Moment(now.monotonic - 2 * MINUTE, now.wall - 2 * DAY)
    ada, other = caller("ada", "", key="k1"), caller("ada", "", key="k2")
    enter(limits, ada, before).settle(Outcome())
    limits._sweep()
    assert (limits._accounts, limits.changed) == ({}, {})
    enter(limits, ada, now)
    enter(limits, other, now)
    assert [account.requests for account in limits._accounts.values()] == [2]


def known(limits: Limits, others: Others) -> None:
    """Have a ledger read what others have counted for everybody."""
    for account in limits._accounts.values():
        account.others = others


@pytest.mark.parametrize("after", [31, 89, 91])
def test_what_was_read_of_others_more_than_a_minute_ago_turns_nobody_away(after):
    limits = Limits()
    spend(limits, caller())
    known(limits, Others(5, 100, 150, 3, read_at=START.monotonic + 30))
    if after < 90:
        with pytest.raises(RateLimitedError):
            enter(limits, caller(), later(after))
        return
    enter(limits, caller(), later(after)).take(100, 0)
    with pytest.raises(QuotaExceededError):
        enter(limits, caller(), later(after + 60)).take(1, 0)


def test_what_others_used_of_a_day_ends_with_it_also_where_it_was_read_no_more():
    limits = Limits()
    midnight = Moment(START.monotonic, 20_001 * DAY)
    spend(limits, caller(), later(-90, midnight))
    known(limits, Others(day_tokens=250, read_at=midnight.monotonic - 20))
    with pytest.raises(QuotaExceededError):
        enter(limits, caller(), later(-10, midnight)).take(1, 0)
    enter(limits, caller(), later(10, midnight)).take(1, 0)
    limits = Limits()
    spend(limits, caller(), later(-90, midnight))
    known(limits, Others(day_tokens=250, read_at=midnight.monotonic + 5))
    with pytest.raises(QuotaExceededError):
        enter(limits, caller(), later(10, midnight)).take(1, 0)


def test_headers_show_whichever_has_less_left_and_the_one_that_refused():
    limits = Limits()
    narrow = caller(key="ci", own=KeyLimits(requests_per_minute=3, tokens_per_minute=1000))
    first = enter(limits, narrow)
    first.take(20, 0)
    least = shown(first)
    assert least["x-ratelimit-limit-requests"] == "3"
    assert least["x-ratelimit-remaining-requests"] == "2"
    assert least["x-ratelimit-limit-tokens"] == "100", "the person's, who has less"
    assert least["x-ratelimit-remaining-tokens"] == "80"
    only = caller(key="one", own=KeyLimits(max_concurrent=1))
    enter(limits, only)
    refused = limits.reserve(only, START)
    with pytest.raises(RateLimitedError):
        refused.enter()
    assert shown(refused)["x-ratelimit-limit-requests"] == "5", "no limit is not shown"
    for person in ("b", "c"):
        for _ in range(4):
            spend(limits, caller(person))
    organisation = limits.reserve(caller("d"), START)
    with pytest.raises(RateLimitedError):
        organisation.enter()
    assert shown(organisation)["x-ratelimit-limit-requests"] == "10"
    assert shown(organisation)["x-ratelimit-remaining-requests"] == "0"


def test_who_was_not_let_in_has_no_place_to_give_back():
    limits = Limits()
    running = [enter(limits, caller()) for _ in range(3)]
    for _ in range(3):
        refused = limits.reserve(caller(), START)
        with pytest.raises(RateLimitedError):
            refused.enter()
        refused.settle(Outcome())
    assert [account.running for account in limits._accounts.values()] == [3, 3]
    running[0].settle(Outcome())
    enter(limits, caller())


def test_an_organisation_has_a_multiple():
    limits = Limits()
    for person in ("ada", "grace"):
        for _ in range(5):
            spend(limits, caller(person))
    with pytest.raises(RateLimitedError):
        spend(limits, caller("edsger"))
    spend(limits, caller("edsger", "another lab"))


def test_tokens_are_reserved_and_settled_by_the_engines_count():
    limits = Limits()
    first = enter(limits, caller(), START)
    first.take(20, 70)
    second = enter(limits, caller(), START)
    with pytest.raises(RateLimitedError):
        second.take(5, 10)
    first.settle(answered(10, 10))
    second.take(10, 70)
    assert shown(second)["x-ratelimit-remaining-tokens"] == "0"
    first.settle(answered(1000, 0))
    assert shown(second)["x-ratelimit-remaining-tokens"] == "0", "only once"


def test_a_settlement_does_not_touch_a_window_that_began_since():
    limits = Limits()
    old = enter(limits, caller(), START)
    old.take(50, 50)
    new = enter(limits, caller(), later(61))
    new.take(40, 0)
    old.settle(answered(1, 1))
    assert shown(new)["x-ratelimit-remaining-tokens"] == "60"


def test_a_settlement_after_midnight_gives_nothing_back_to_the_new_day():
    limits = Limits()
    old = enter(limits, caller(), START)
    old.take(50, 50)
    enter(limits, caller(), Moment(START.monotonic + 61, START.wall + DAY)).take(40, 0)
    old.settle(answered(1, 1))
    assert {account.day_tokens for account in limits._accounts.values()} == {40}


@pytest.mark.parametrize(
    ("outcome", "was_left", "cost"),
    [
        (Outcome(), True, 0),
        (Outcome(asked_at=1.0), False, 0),
        (Outcome(asked_at=1.0), True, 60),
        (Outcome(asked_at=1.0, events=7), True, 27),
        (answered(3, 4), True, 7),
        (answered(9, 0, events=7), True, 16),
    ],
    ids=[
        "no engine was asked",
        "the engine failed",
        "left",
        "left a stream",
        "left at the end",
        "left a stream whose prompt was counted",
    ],
)
def test_what_a_request_costs(outcome, was_left, cost):
    limits = Limits()
    reservation = enter(limits, caller(), START)
    reservation.take(20, 40)
    outcome.was_left = was_left
    reservation.settle(outcome)
    assert shown(reservation)["x-ratelimit-remaining-tokens"] == str(100 - cost)


SAID = {"messages": [{"role": "user", "content": "x"}]}
RESERVED = {
    "chat without a bound": ("/v1/chat/completions", SAID, 100),
    "chat": ("/v1/chat/completions", {**SAID, "max_tokens": 5}, 5),
    "two bounds": (
        "/v1/chat/completions",
        {**SAID, "max_tokens": 7, "max_completion_tokens": 5},
        7,
    ),
    "several answers": ("/v1/chat/completions", {**SAID, "n": 3, "max_tokens": 5}, 15),
    "several without a bound": ("/v1/chat/completions", {**SAID, "n": 3}, 300),
    "a text": ("/v1/completions", {"prompt": "x", "max_tokens": 5}, 5),
    "tokens": ("/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 5}, 5),
    "texts": ("/v1/completions", {"prompt": ["x", "y"], "max_tokens": 5, "n": 2}, 20),
    "lists of tokens": ("/v1/completions", {"prompt": [[1, 2], [3]], "max_tokens": 5}, 10),
    "texts without a bound": ("/v1/completions", {"prompt": ["x", "y"], "n": 2}, 64),
    "a response": ("/v1/responses", {"input": "x", "max_output_tokens": 5}, 5),
    "a response without a bound": ("/v1/responses", {"input": "x", "max_output_tokens": None}, 100),
    "a message": ("/v1/messages", {**SAID, "max_tokens": 5}, 5),
    "a count": ("/v1/messages/count_tokens", SAID, 0),
    "an embedding": ("/v1/embeddings", {"input": ["x", "y"]}, 0),
}


@pytest.mark.parametrize(("path", "fields", "tokens"), list(RESERVED.values()), ids=list(RESERVED))
def test_what_is_reserved_is_the_most_that_all_answers_may_have(path, fields, tokens):
    body = msgspec.json.encode({"model": "m", **fields})
    request = decode(body, ENDPOINTS[path].decoder)
    assert estimate(body, request, 100) == (len(body) // 3, tokens)


def test_requests_at_a_time():
    limits = Limits()
    running = [enter(limits, caller(), START) for _ in range(3)]
    with pytest.raises(RateLimitedError):
        enter(limits, caller(), START)
    for _ in range(2):
        running[0].settle(Outcome(was_left=True))
    enter(limits, caller(), START)
    with pytest.raises(RateLimitedError):
        enter(limits, caller(), START)


def test_the_days_budget_and_a_clock_that_is_set():
    limits = Limits()
    for minute in range(2):
        spend(limits, caller(), later(60 * minute), tokens=100)
    third = later(120)
    with pytest.raises(QuotaExceededError) as refused:
        spend(limits, caller(), third, tokens=100)
    assert refused.value.retry_after_seconds == DAY - third.wall % DAY
    spend(limits, caller(), third, tokens=50)
    back = Moment(third.monotonic + 60, third.wall - 5 * DAY)
    with pytest.raises(QuotaExceededError):
        spend(limits, caller(), back, tokens=100)
    spend(limits, caller(), Moment(third.monotonic + 120, third.wall + DAY), tokens=100)


def account(running):
    accounts = running.gateway.data_plane.limits._accounts
    return accounts["person", running.people["public"]]


def tokens_today(running) -> int:
    """Count what requests have cost that are settled, which they are after their answers."""
    wait_for(lambda: account(running).running == 0)
    return account(running).day_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_usage_is_the_engines_own_count(running, stream):
    running.chat("public")
    before = tokens_today(running)
    for _ in range(3):
        assert running.chat("public", stream=stream).status_code == 200
    assert tokens_today(running) - before == 3 * 7


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_who_leaves_a_stream_pays_what_the_engine_had_counted(running, path):
    engine = running.engines["unlearned"]
    running.chat("public")
    before, aborted = tokens_today(running), engine.aborted
    engine.tokens, engine.delay_seconds = 100, 0.02
    key = {"authorization": f"Bearer {running.keys['public']}"}
    asked = {"model": "smollm2", "stream": True, "max_tokens": 500}
    message = {"role": "user", "content": "Hi"}
    asked |= {"messages": [message]} if "chat" in path else {"prompt": "Hi"}
    with httpx.stream("POST", running.url + path, json=asked, headers=key) as answer:
        for count, line in enumerate(answer.iter_lines()):
            assert "usage" not in line
            if count == 10:
                break
    wait_for(lambda: engine.aborted == aborted + 1)
    # The prompt's three tokens, and those of the last event that reached the gateway.
    assert engine.told - 1 <= tokens_today(running) - before - 3 <= engine.told
    assert engine.told < 100


@pytest.mark.parametrize(
    "why",
    [
        ClientGoneError(),
        EngineTimeoutError(),
        GrantRevokedError(),
        InsufficientScopeError("/v1/x"),
        NotReadyError(),
        ReleaseWithdrawnError("smollm2:unlearned"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_ends_an_answer_early_costs_what_was_reserved(running, why):
    """Otherwise who narrows their own key in time has had an engine work for nothing."""
    running.chat("public")
    before, engine = account(running).day_tokens, running.engines["unlearned"]
    engine.delay_seconds, sent = 5.0, len(engine.bodies)
    asking = threading.Thread(target=lambda: running.chat("public", max_tokens=1000))
    asking.start()
    wait_for(lambda: len(engine.bodies) > sent)
    [answer] = running.gateway.keeper._running
    answer.task.get_loop().call_soon_threadsafe(answer.cut, why)
    asking.join(10)
    wait_for(lambda: account(running).running == 0)
    assert account(running).day_tokens - before > 1000


def test_headers_and_errors_of_limits(fresh):
    answer = fresh.chat("public", max_tokens=10)
    left = int(answer.headers["x-ratelimit-remaining-tokens"])
    assert left == int(answer.headers["x-ratelimit-limit-tokens"]) - 10 - prompt_estimate(fresh)
    assert answer.headers["x-ratelimit-reset-tokens"].endswith("s")
    # Alone it would have room; with what was used it has not.
    most = 1000 + prompt_estimate(fresh) + 3
    fresh.change_tier("public", tokens_per_minute=most)
    fresh.wait_until_seen()
    refused = fresh.chat("public", max_tokens=1000)
    assert code(refused) == (429, "rate_limit_exceeded")
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert "x-should-retry" not in refused.headers
    fresh.change_tier("public", tokens_per_minute=5000, tokens_per_day=most)
    fresh.wait_until_seen()
    refused = fresh.chat("public", max_tokens=1000)
    assert code(refused) == (429, "insufficient_quota")
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["retry-after"]) >= 1
    fresh.change_tier("public", max_concurrent=1, tokens_per_day=100_000)
    fresh.wait_until_seen()
    fresh.engines["unlearned"].delay_seconds = 0.3
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(fresh.chat("public", max_tokens=4)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
    assert fresh.chat("public", max_tokens=4).status_code == 200


@pytest.mark.parametrize("limit", ["tokens_per_minute", "tokens_per_day"])
def test_what_is_more_than_a_whole_limit_is_not_to_be_tried_again(running, limit):
    given = {"person_id": running.people["public"], limit: 500}
    key = running.admin("POST", "/keys", json=given).json()["key"]
    running.wait_until_seen()
    kind = limit.replace("_", " ")
    counted = f'airlock_rate_limited_total{{kind="{kind}"}}'
    before = running.metric(counted)
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1000}
    openai = httpx.post(
        f"{running.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
    )
    error = openai.json()["error"]
    assert code(openai) == (429, "rate_limit_exceeded")
    assert error["type"] == "tokens"
    assert f"the limit is 500 {kind}" in error["message"]
    anthropic = httpx.post(f"{running.url}/v1/messages", json=body, headers={"x-api-key": key})
    assert anthropic.status_code == 429
    assert anthropic.json()["error"]["type"] == "rate_limit_error"
    for answer in (openai, anthropic):
        assert answer.headers["x-should-retry"] == "false"
        assert "retry-after" not in answer.headers
        assert answer.headers["x-ratelimit-limit-requests"]
    assert running.metric(counted) == before + 2


def test_too_many_tokens_are_those_of_a_whole_limit_whatever_part_of_it_counts_now():
    limits = Limits()
    limits.share = 0.5
    with pytest.raises(RateLimitedError):
        enter(limits, caller()).take(40, 60)
    with pytest.raises(TooManyTokensError):
        enter(limits, caller()).take(40, 61)
    for days, error in ((200, QuotaExceededError), (199, TooManyTokensError)):
        who = caller(f"of {days}", "", tokens_per_minute=1000, tokens_per_day=days)
        with pytest.raises(error):
            enter(limits, who).take(40, 160)


def prompt_estimate(running) -> int:
    import json

    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 10,
    }
    return len(json.dumps(body, separators=(",", ":"))) // 3
