"""One connection to an engine, turn by turn of the loop: what was sent, and what is expected."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import uvloop

from gateway.dataplane.breaker import Breaker
from gateway.dataplane.catalogue import EngineAddress
from gateway.dataplane.connection import EngineConnection
from gateway.dataplane.replica import Replica
from gateway.dataplane.upstream import Upstream
from gateway.errors import EngineFailedError, EngineUnavailableError
from gateway.transport import turn_of
from tests.gateway.test_transport import Written

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Engine:
    """Whatever an `Upstream` needs of connections and a pool, for a connection in our hands."""

    host_header = "engine"

    def __init__(self):
        self.sent: list[tuple[str, bytes]] = []
        self.used: EngineConnection | None = None
        self.connection = EngineConnection(lambda _: None, lambda _: None)
        self.written = Written("engine", self.sent)
        self.connection.connection_made(self.written)
        self.replica = Replica(EngineAddress("http://engine", "d", "key", None), Breaker(3, 1.0))
        self.distrusted = []

    def lines(self, address):
        return SimpleNamespace(idle=lambda: self.used, host_header=self.host_header)

    def keep_used(self) -> Callable[[], None]:
        """Have a connection that was used before; return what ends it."""
        self.used = used = EngineConnection(lambda _: None, lambda _: None)
        written = Written("used", self.sent)
        used.connection_made(written)
        used.is_used = True

        def end() -> None:
            written.close()
            used.connection_lost(None)

        return end

    async def connect(self, address):
        return self.connection

    def distrust(self, replica):
        self.distrusted.append(replica)

    def ask(self) -> asyncio.Task:
        return asyncio.create_task(
            Upstream(self, self).ask(
                self.replica, "/v1/x", b"{}", "req", is_stream=False, on_open=lambda _: None
            )
        )

    def end(self) -> None:
        self.written.close()
        self.connection.connection_lost(None)


def in_a_loop(what) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(what())


@pytest.mark.parametrize("is_held", [True, False])
def test_a_request_that_was_never_sent_can_have_harmed_nobody(is_held):
    """Held until its turn ends, in which the connection closes; another engine may be asked."""

    async def ask():
        engine = Engine()
        for _ in range(2 if is_held else 1):
            turn_of(asyncio.get_running_loop()).expect()
        asking = engine.ask()
        await asyncio.sleep(0)
        assert bool(engine.sent) is not is_held
        engine.end()
        with pytest.raises(EngineUnavailableError if is_held else EngineFailedError):
            await asking
        await asyncio.sleep(0)
        assert bool(engine.sent) is not is_held
        assert engine.distrusted == [engine.replica]

    in_a_loop(ask)


def test_a_request_to_a_connection_that_has_closed_was_never_sent():
    async def ask():
        engine = Engine()
        engine.written.close()
        with pytest.raises(EngineUnavailableError):
            await engine.ask()
        assert not engine.sent

    in_a_loop(ask)


@pytest.mark.parametrize("second", ["closes first", "closes while it is held"])
def test_a_request_that_was_sent_once_counts_as_sent_whatever_became_of_the_second(second):
    """Its idle connection broke under it, and so does the next before it is written to."""

    async def ask():
        engine, turn = Engine(), turn_of(asyncio.get_running_loop())
        end_used = engine.keep_used()
        asking = engine.ask()
        await asyncio.sleep(0)
        assert [name for name, _ in engine.sent] == ["used"]
        for _ in range(3):
            turn.expect()
        if second == "closes first":
            engine.written.close()
        end_used()
        await asyncio.sleep(0)
        if second == "closes while it is held":
            engine.end()
        with pytest.raises(EngineFailedError):
            await asking
        assert [name for name, _ in engine.sent] == ["used"]

    in_a_loop(ask)


@pytest.mark.parametrize("status", [503, 401, 404])
def test_a_request_that_was_sent_once_is_asked_of_no_other_when_the_second_is_turned_away(status):
    """By a server that outlives its engine, or a proxy before it."""

    async def ask():
        engine = Engine()
        end_used = engine.keep_used()
        asking = engine.ask()
        await asyncio.sleep(0)
        end_used()
        for _ in range(5):
            await asyncio.sleep(0)
        assert [name for name, _ in engine.sent] == ["used", "engine"]
        engine.connection.data_received(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
        with pytest.raises(EngineFailedError):
            await asking

    in_a_loop(ask)


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_an_answer_without_end_that_is_no_stream_is_not_kept(monkeypatch, is_stream):
    monkeypatch.setattr("gateway.dataplane.connection.MAX_ANSWER_BYTES", 64)

    async def ask():
        engine = Engine()
        asking = asyncio.create_task(engine.connection.ask(b"request", is_stream=is_stream))
        await asyncio.sleep(0)
        engine.connection.data_received(
            b"HTTP/1.1 500 Internal Server Error\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(3):
            engine.connection.data_received(b"20\r\n%b\r\n" % (b"x" * 32))
            await asyncio.sleep(0)
        assert asking.done()
        with pytest.raises(EngineFailedError):
            await asking

    in_a_loop(ask)


def test_each_whole_answer_of_a_turn_has_another_expected():
    """So that the answers to their callers, which follow, leave together."""

    async def ask():
        turn = turn_of(asyncio.get_running_loop())
        engines = [Engine() for _ in range(2)]
        asking = [engine.ask() for engine in engines]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for engine in engines:
            engine.connection.data_received(ANSWER)
        assert not turn.count_off(), "another is expected"
        assert turn.count_off()
        for one in asking:
            assert (await one).whole() == b"{}"

    in_a_loop(ask)
