"""Replicas of one checkpoint: who is asked, what is tried again, and what never is."""

import asyncio
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import httpx
import pytest

from gateway.announcements import SUSPECTS, Announcement, notification
from gateway.cli.tables import in_transaction
from gateway.dataplane import relay
from gateway.dataplane import suspects as module
from gateway.dataplane.balance import prefix_affine
from gateway.dataplane.breaker import Breaker
from gateway.dataplane.catalogue import EngineAddress
from gateway.dataplane.connections import Connections
from gateway.dataplane.pool import Pool
from gateway.dataplane.replica import Replica
from gateway.dataplane.suspects import Suspects
from gateway.errors import EngineUnavailableError, RequestHeldBackError
from gateway.identity.secret import load_secret
from gateway.settings import Settings
from tests.fakes.mortal import ANSWER, MortalEngine, whole
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.controlplane.test_admin_api import code
from tests.replicas import Way, replica
from tests.servers import wait_for

CHAT = "/v1/chat/completions"
KEY = b"k" * 32


def quiet(hold_seconds: float = 600.0, key: bytes = KEY) -> Suspects:
    """Those of a gateway that tells nobody."""
    return Suspects(hold_seconds, key, lambda _: None)


@pytest.fixture
def start(request, tmp_path):
    """Start a gateway before some engines that can die."""
    with ExitStack() as stack:
        settings = make_settings(request, tmp_path, "sqlite")

        def begin(count=2, **changes):
            engines = [MortalEngine() for _ in range(count)]
            for engine in engines:
                stack.callback(engine.die)
            replicas = {"unlearned": engines}
            running = stack.enter_context(run_gateway(settings, replicas=replicas, **changes))
            wait_for(lambda: running.metric("airlock_engine_up") == count + 1)
            return running, engines

        yield begin


def asked(engines, word: bytes = b"") -> list[int]:
    return [sum(word in body for body in engine.bodies) for engine in engines]


def poison(running, **extra):
    message = {"role": "user", "content": "this is poison"}
    return running.post("public", {"model": "smollm2", "messages": [message], **extra})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_request_under_which_an_engine_died_is_not_sent_to_another(start, stream, late):
    if late and not stream:
        pytest.skip("an answer that is no stream comes at once")
    running, engines = start()
    for engine in engines:
        engine.is_deadly_late = late
    first = poison(running, stream=stream)
    if late:
        assert first.status_code == 200
        assert '"code":"engine_error"' in first.text
        assert "[DONE]" not in first.text
    else:
        assert code(first) == (502, "engine_error")
    dead = next(engine for engine in engines if engine.bodies)
    # A client that tries again at once is told to wait, until it is known that the engine is dead.
    assert code(poison(running, stream=stream)) == (503, "engine_unavailable")
    held = wait_for(lambda: (a := poison(running, stream=stream)).status_code == 422 and a)
    assert code(held) == (422, "request_held_back")
    assert held.headers["x-should-retry"] == "false"
    assert int(held.headers["retry-after"]) > 200
    assert sum(asked(engines, b"poison")) == 1
    assert running.metric("airlock_held_back_requests") == 1
    for _ in range(5):
        assert running.chat("public").status_code == 200
    other = next(engine for engine in engines if engine is not dead)
    assert asked([other]) == [5]
    # Coming back as another process, under another start, is no sign that it had lived.
    dead.come_back()
    wait_for(lambda: running.metric("airlock_engine_up") == 3)
    assert code(poison(running, stream=stream)) == (422, "request_held_back")


def test_what_killed_an_engine_is_held_back_by_every_gateway(request, tmp_path):
    """Whoever tries again comes to another one, which would give it another engine."""
    engines = [MortalEngine() for _ in range(2)]
    for engine in engines:
        request.addfinalizer(engine.die)
    settings = make_settings(request, tmp_path, "postgresql")
    way = Way(settings.database_url)
    with (
        run_gateway(settings, replicas={"unlearned": engines}) as running,
        way.open(),
        replica(running, way) as url,
    ):
        other = replace(running, url=url)
        held = partial(other.metric, "airlock_held_back_requests")
        # Of an engine that lives, the other lets go.
        told: list[str] = []
        telling = Suspects(600.0, load_secret(settings).derive("suspects/1"), told.append)
        pool = running.gateway.pool
        assert pool is not None
        lives = next(one for one in pool.replicas() if one.address.url == engines[0].url)
        for at in (lives.address.url, "http://gone"):
            telling.hold("somebody", at.encode(), at, lives.engine_start)
        said = notification([Announcement(SUSPECTS, text) for text in told])
        in_transaction(settings, lambda session: session.execute(said))
        wait_for(lambda: held() == 1, 5)
        assert code(poison(running)) == (502, "engine_error")
        wait_for(lambda: held() == 2)
        wait_for(lambda: code(poison(other)) == (422, "request_held_back"))
        assert sum(asked(engines, b"poison")) == 1
        assert other.chat("public").status_code == 200


def test_what_no_gateway_says_holds_nobody_back():
    """Whoever may connect to the database may announce."""
    told: list[str] = []
    elsewhere, suspects = Suspects(600.0, KEY, told.append), quiet()
    elsewhere.hold("ada", b"{}", "http://engine", "1")
    changed = [told[0][:at] + "0f"[told[0][at] == "0"] + told[0][at + 1 :] for at in range(128)]
    longer = (told[0] + "00", "00" + told[0], told[0][:-2], told[0][2:], told[0][:-32])
    for text in ("", "x", "00", "ü", "00" * 48, "00" * 64, *longer, *changed):
        assert suspects.hear(text) is None
    assert len(suspects) == 0
    assert suspects.hear(told[0]) == elsewhere.engine("http://engine", "1")
    assert len(suspects) == 1


class Elsewhere:
    """A gateway at which a request of Ada's is in flight when engines die, on a clock of ours."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.told: list[str] = []
        self.suspects = Suspects(600.0, KEY, self.told.append)

    def tells(self, url: str, start: str = "1") -> str:
        self.suspects.hold("ada", b"{}", url, start)
        return self.told[-1]


def is_held(suspects: Suspects) -> bool:
    try:
        suspects.check("ada", b"{}")
    except (EngineUnavailableError, RequestHeldBackError):
        return True
    return False


@pytest.mark.parametrize("age_seconds", [599.9, 600.5])
def test_who_kills_another_engine_at_the_end_is_held_back_anew(monkeypatch, age_seconds):
    elsewhere, here = Elsewhere(monkeypatch), quiet()
    assert here.hear(elsewhere.tells("http://one"))
    elsewhere.now += age_seconds
    assert here.hear(elsewhere.tells("http://two"))
    elsewhere.now += 599.0
    assert is_held(here)


def test_that_one_engine_lives_says_nothing_of_another(monkeypatch):
    elsewhere, here = Elsewhere(monkeypatch), quiet()
    here.hold("ada", b"{}", "http://one", "1")
    assert here.hear(elsewhere.tells("http://two"))
    for url, start in (("http://one", "1"), ("http://two", "2")):
        here.lives(url, start, elsewhere.now + 0.1)
        assert is_held(here)
    here.lives("http://two", "1", elsewhere.now)
    assert is_held(here), "it was asked before"
    here.lives("http://two", "1", elsewhere.now + 0.1)
    assert not is_held(here)
    assert len(here) == 0


def test_who_is_held_is_looked_through_once_a_second_when_no_verdict_can_come():
    """Thousands may be, and many engines are asked each second."""
    suspects = quiet(10.0)
    suspects.hold("ada", b"{}", "http://one", "1")
    held_at = time.monotonic()
    looked = []
    for seconds in (9.8, 10.1, 10.7, 10.9):
        suspects.lives("http://two", "1", held_at + seconds)
        looked.append(len(suspects))
    assert looked == [1, 1, 1, 0]


def test_a_gateway_does_not_hear_itself(monkeypatch):
    """What it has let go of would be held again when the database is slow."""
    elsewhere = Elsewhere(monkeypatch)
    told = elsewhere.tells("http://one")
    elsewhere.suspects.lives("http://one", "1", elsewhere.now + 0.1)
    assert elsewhere.suspects.hear(told) is None
    assert not is_held(elsewhere.suspects)


def test_who_is_held_back_again_drives_out_nobody(monkeypatch):
    monkeypatch.setattr(module, "MAX_SUSPECTS", 2)
    suspects = quiet()
    for person, url in (("ada", "one"), ("eve", "one"), ("eve", "two"), ("eve", "one")):
        suspects.hold(person, b"{}", url, "1")
    assert is_held(suspects)
    suspects.hold("ada", b"{}", "two", "1")
    suspects.hold("bob", b"{}", "one", "1")
    assert is_held(suspects), "Eve was held before"


def test_a_break_that_is_heard_of_twice_is_judged_by_a_probe_after_the_second(monkeypatch):
    elsewhere, here = Elsewhere(monkeypatch), quiet()
    asked_at = elsewhere.now + 0.1
    for _ in range(2):
        assert here.hear(elsewhere.tells("http://one"))
        elsewhere.now += 0.5
    here.lives("http://one", "1", asked_at)
    assert is_held(here)
    here.lives("http://one", "1", elsewhere.now)
    assert not is_held(here)


def test_who_hears_of_a_suspect_asks_its_engine_at_once(tmp_path, monkeypatch):
    """Or, between two probes that are far apart, it would take an engine that lives for dead."""
    pool = Pool(None, quiet(), None, Settings(home=tmp_path))
    addresses = [EngineAddress(f"http://{name}", "d", "k", None) for name in ("one", "two")]
    one, two = (Replica(address, Breaker(3, 1.0), engine_start="1") for address in addresses)
    pool._replicas |= dict(zip(addresses, (one, two), strict=True))
    pool.hear_of_suspect("")
    assert not one.doubted.is_set()
    pool.hear_of_suspect(Elsewhere(monkeypatch).tells("http://one"))
    assert one.doubted.is_set()
    assert not two.doubted.is_set()


def test_gateways_without_the_same_secret_hold_back_nothing_for_one_another():
    told: list[str] = []
    Suspects(600.0, KEY, told.append).hold("ada", b"{}", "http://engine", "1")
    same, other = quiet(), quiet(key=b"o" * 32)
    assert same.hear(told[0])
    assert other.hear(told[0]) is None
    other.check("ada", b"{}")
    with pytest.raises(EngineUnavailableError):
        same.check("ada", b"{}")


def test_what_is_held_back_is_so_from_who_has_asked_alone():
    """Tokens are counted without a salt: for all who count the same, the engine gets the same."""
    suspects, body = quiet(), b'{"model":"sha256:1","messages":[]}'
    suspects.hold("ada", body, "http://engine", "1")
    with pytest.raises(EngineUnavailableError):
        suspects.check("ada", body)
    suspects.check("grace", body)


def test_who_was_held_back_for_its_time_is_forgotten():
    suspects = quiet()
    suspects.hold("ada", b"{}", "http://engine", "1")
    held_at = time.monotonic()
    suspects.lives("http://another", "1", held_at + 599.0)
    assert len(suspects) == 1
    suspects.lives("http://another", "1", held_at + 600.0)
    assert len(suspects) == 0


def test_a_request_whose_engine_lives_is_let_go(start):
    running, engines = start(1)
    engines[0].raw = b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"
    assert code(running.chat("public")) == (502, "engine_error")
    engines[0].raw = None
    wait_for(lambda: running.chat("public").status_code == 200, 2)
    assert running.metric("airlock_held_back_requests") == 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_an_engine_has_not_begun_is_sent_to_another(start, stream):
    running, engines = start(probe_seconds=2.0)
    engines[0].die()
    for _ in range(6):
        assert running.chat("public", stream=stream).status_code == 200
    assert asked(engines) == [0, 6]
    assert running.metric("airlock_retries_total") <= 1
    assert running.metric("airlock_held_back_requests") == 0


def test_a_request_is_tried_so_often_and_no_more(start):
    running, engines = start(4, max_retries=1)
    for engine in engines:
        engine.status = "503 Service Unavailable"
    message = {"role": "user", "content": "once"}
    answer = running.post("public", {"model": "smollm2", "messages": [message]})
    assert code(answer) == (503, "engine_unavailable")
    assert sorted(asked(engines, b"once")) == [0, 0, 1, 1]


@pytest.mark.parametrize("why", ["it is turned away", "it is not reached"])
def test_who_leaves_before_any_engine_has_begun_pays_nothing(start, monkeypatch, why):
    monkeypatch.setattr(relay, "BACKOFF_SECONDS", 60.0)
    monkeypatch.setattr(relay.random, "uniform", lambda _, longest: longest)
    running, engines = start()
    accounts = running.gateway.data_plane.limits._accounts
    waits = lambda: running.metric("airlock_retries_total") == 1  # noqa: E731
    if why == "it is not reached":
        begun = threading.Event()
        waits = begun.is_set

        async def hang(*_):
            begun.set()
            await asyncio.sleep(60)

        monkeypatch.setattr(Connections, "connect", hang)
    for engine in engines:
        engine.status = "503 Service Unavailable"
    body = b'{"model": "smollm2", "messages": [{"role": "user", "content": "x"}]}'
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    key = f"authorization: Bearer {running.keys['public']}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2]))) as caller:
        caller.sendall((head + key).encode() + body)
        wait_for(waits)
    account = accounts["person", running.people["public"]]
    wait_for(lambda: account.running == 0)
    assert (account.requests, account.day_tokens) == (1, 0)


def test_an_engine_that_turns_requests_away_is_asked_less(start):
    running, engines = start(breaker_failures=1, breaker_open_seconds=30.0)
    engines[0].status = "503 Service Unavailable"
    for _ in range(12):
        assert running.chat("public").status_code == 200
    assert asked(engines)[0] <= 1
    assert running.metric("airlock_breaker_open") == asked(engines)[0]


def test_an_idle_connection_that_the_engine_has_closed_costs_no_request(start):
    running, engines = start(1)
    for _ in range(5):
        assert running.chat("public").status_code == 200
        engines[0].drop_connections()
    assert asked(engines) == [5]


@pytest.mark.parametrize("where", ["on a new connection", "behind the first bytes"])
def test_a_connection_that_ends_is_not_tried_again(start, where):
    """Only a silent one that was idle may have been closed before its engine saw the request."""
    running, [engine] = start(1)
    answer = engine._answer

    def drop(connection, head, body):
        if head.startswith(b"GET"):
            answer(connection, head, body)
            return
        engine.bodies.append(body)
        if where == "behind the first bytes":
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
        raise ConnectionError

    if where == "behind the first bytes":
        assert running.chat("public").status_code == 200
    engine._answer = drop
    assert code(poison(running)) == (502, "engine_error")
    assert asked([engine], b"poison") == [1]


def test_requests_go_to_the_least_busy(start):
    running, engines = start()
    for engine in engines:
        engine.delay_seconds = 0.5
    threads = [threading.Thread(target=running.chat, args=("public",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: sum(asked(engines)) == 6)
    assert asked(engines) == [3, 3]
    for thread in threads:
        thread.join()


def test_like_beginnings_go_to_the_same_replica(start):
    running, engines = start(3, balance="prefix-affine")
    for name in ("one", "two", "three", "four", "five", "six"):
        before = asked(engines)
        messages = [{"role": "user", "content": f"{name} " * 300}]
        for turn in range(1, 7):
            body = {"model": "smollm2", "max_tokens": turn, "stream": turn % 2 == 0}
            assert running.post("public", {**body, "messages": messages}).status_code == 200
            messages += [{"role": role, "content": "more"} for role in ("assistant", "user")]
        grown = [now - then for now, then in zip(asked(engines), before, strict=True)]
        assert sorted(grown) == [0, 0, 6]


def test_what_many_say_alike_is_spread_over_replicas_whose_caches_keep_them_apart():
    ready = [Replica(address(url), Breaker(3, 1.0)) for url in ("a", "b", "c")]
    body = b'{"model":"sha256:1","messages":[{"role":"system","content":"' + b"x" * 2000
    chosen = {prefix_affine(ready, f"person {n}", body, 0.0, 1.0).address.url for n in range(30)}
    assert chosen == {"a", "b", "c"}


def address(url: str) -> EngineAddress:
    return EngineAddress(url, "sha256:1", "key", None)


JSON = b'{"choices":[{}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
SECRET = whole(b'{"choices":[{"message":{"content":"of another"}}]}')
BROKEN = {
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 66\r\n\r\n" + JSON,
    "a length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 66\r\n"
    b"transfer-encoding: chunked\r\n\r\n42\r\n" + JSON + b"\r\n0\r\n\r\n",
    "a length below zero": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n" + JSON,
    "a second answer": whole(JSON) + SECRET,
    "bytes after the answer": whole(JSON) + b"xyz",
    "a bare line feed": b"HTTP/1.1 200 OK\ncontent-length: 66\n\n" + JSON,
    "a chunk that is no number": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"x-pad: y\r\n" * 20_000,
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + whole(JSON),
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n"
    b"connection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("stream", [False, True])
def test_answers_that_are_not_framed_strictly_are_none(start, stream):
    running, engines = start(1, breaker_failures=1000, idle_timeout_seconds=2.0)
    for name, raw in BROKEN.items():
        engines[0].raw = raw
        answer = running.chat("public", stream=stream)
        assert answer.status_code in (502, 503), name
        assert answer.json()["error"]["code"] in ("engine_error", "engine_unavailable"), name
        engines[0].raw = None
        good = wait_for(lambda: (a := running.chat("public")).status_code == 200 and a)
        assert good.json() == ANSWER, name


def test_an_answer_without_an_end_is_none(start):
    running, engines = start(1, idle_timeout_seconds=0.5)
    engines[0].raw = b"HTTP/1.1 200 OK\r\n\r\n" + JSON
    assert code(running.chat("public")) == (504, "engine_timeout")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.timed
def test_an_engine_hears_within_200_ms_that_its_caller_left(start, stream):
    running, engines = start(1)
    engines[0].delay_seconds = 30.0 if not stream else 0.02
    engines[0].events = 10_000
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    headers = {"authorization": f"Bearer {running.keys['public']}"}
    raw = httpx.Request("POST", running.url + CHAT, json=body, headers=headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in raw.headers.items())
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(f"POST {CHAT} HTTP/1.1\r\n{head}\r\n".encode() + raw.content)
        wait_for(lambda: engines[0].bodies)
        if stream:
            caller.recv(1000)
        accounts = running.gateway.data_plane.limits._accounts
        assert any(account.running for account in accounts.values())
    left = time.monotonic()
    wait_for(lambda: engines[0].left_at, 2)
    assert engines[0].left_at - left < 0.2
    wait_for(lambda: not any(account.running for account in accounts.values()))
    wait_for(lambda: running.metric("airlock_in_flight_requests") == 0)


def test_a_caller_that_does_not_read_stops_the_engine_not_the_memory(start):
    running, engines = start(1, idle_timeout_seconds=2.0)
    engines[0].events, engines[0].padding = 4000, 20_000
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "x"}], "stream": True}
    headers = {"authorization": f"Bearer {running.keys['public']}"}
    raw = httpx.Request("POST", running.url + CHAT, json=body, headers=headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in raw.headers.items())
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(f"POST {CHAT} HTTP/1.1\r\n{head}\r\n".encode() + raw.content)
        wait_for(lambda: engines[0].sent_bytes > 1_000_000)
        time.sleep(0.5)
        stopped_at = engines[0].sent_bytes
        time.sleep(0.5)
        assert engines[0].sent_bytes == stopped_at < 40_000_000
        # It is hung up on, and its slot is free again.
        wait_for(lambda: running.metric("airlock_in_flight_requests") == 0)
