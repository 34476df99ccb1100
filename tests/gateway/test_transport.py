"""What is written in one turn of the loop leaves at its end: whole, in order, to whom it should."""

import asyncio
from types import SimpleNamespace

import pytest
import uvloop

from gateway import transport
from gateway.exchange import LONG_BODY_BYTES, Exchange
from gateway.logs import CONTEXT
from gateway.transport import MOST_HELD_BYTES, JoiningTransport, turn_of

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Written:
    """A transport that notes what reaches it, in a list that several share."""

    def __init__(self, name: str, noted: list[tuple[str, bytes]], *, is_broken: bool = False):
        self.name, self.noted, self.is_broken = name, noted, is_broken
        self.is_closed = False
        self.get_extra_info = self.pause_reading = self.resume_reading = self.set_protocol = None

    def write(self, data: bytes) -> None:
        if self.is_broken:
            raise RuntimeError("the handle is closed")
        self.noted.append((self.name, data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def in_a_turn(request):
    """Runs a function in one turn of a loop, and returns what had been written before its end."""

    def run(act, noted: list) -> list:
        async def main() -> list:
            act(turn_of(asyncio.get_running_loop()))
            at_once = list(noted)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return at_once

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main())

    return run


@pytest.fixture
def noted() -> list[tuple[str, bytes]]:
    """What was written, by whom."""
    return []


def test_what_is_written_leaves_when_the_turn_ends_each_connections_as_one(in_a_turn, noted):
    def act(turn) -> None:
        one = JoiningTransport(Written("one", noted), turn)
        two = JoiningTransport(Written("two", noted), turn)
        one.write(b"head ")
        two.write(b"other")
        one.write(b"body")

    assert in_a_turn(act, noted) == []
    assert noted == [("one", b"head body"), ("two", b"other")]


def test_what_comes_alone_in_its_turn_leaves_at_once(in_a_turn, noted):
    def act(turn) -> None:
        turn.expect()
        JoiningTransport(Written("one", noted), turn).write_expected(b"answer")

    assert in_a_turn(act, noted) == noted == [("one", b"answer")]


def test_what_comes_with_others_leaves_with_them(in_a_turn, noted):
    def act(turn) -> None:
        for _ in range(2):
            turn.expect()
        for name in ("one", "two"):
            JoiningTransport(Written(name, noted), turn).write_expected(b"answer")

    assert in_a_turn(act, noted) == []
    assert noted == [("one", b"answer"), ("two", b"answer")]


def test_what_does_not_come_holds_up_nothing_beyond_its_turn(in_a_turn, noted):
    """Such as a request that waits for its turn at an engine."""
    turns = []

    def act(turn) -> None:
        turns.append(turn)
        for _ in range(3):
            turn.expect()
        JoiningTransport(Written("one", noted), turn).write_expected(b"answer")

    assert in_a_turn(act, noted) == []
    assert noted == [("one", b"answer")]
    turns[0].expect()
    assert turns[0].count_off(), "nothing is expected of an earlier turn"


def test_an_event_leaves_at_once_behind_what_is_held(in_a_turn, noted):
    def act(turn) -> None:
        one = JoiningTransport(Written("one", noted), turn)
        one.write(b"head ")
        one.write_now(b"event")
        one.write_now(b"event")

    assert in_a_turn(act, noted) == noted == [("one", b"head event"), ("one", b"event")]


def test_much_leaves_at_once_and_once_only(in_a_turn, noted):
    much = b"x" * MOST_HELD_BYTES

    def act(turn) -> None:
        one = JoiningTransport(Written("one", noted), turn)
        one.write(b"head ")
        one.write(much)
        one.write(b"end")

    assert in_a_turn(act, noted) == [("one", b"head " + much)]
    assert noted == [("one", b"head " + much), ("one", b"end")]


def test_a_connection_that_closes_sends_what_is_held_first(in_a_turn, noted):
    def act(turn) -> None:
        one = JoiningTransport(Written("one", noted), turn)
        one.write(b"last words")
        one.close()

    assert in_a_turn(act, noted) == noted == [("one", b"last words")]


@pytest.mark.parametrize("ended_by", ["abort", "its own end"])
def test_a_connection_that_has_ended_is_sent_nothing(in_a_turn, ended_by, noted):
    """A request that is given up in the turn in which it was made never reaches its engine."""
    made: list[JoiningTransport] = []

    def act(turn) -> None:
        written = Written("one", noted)
        one = JoiningTransport(written, turn)
        made.append(one)
        one.write(b"request")
        assert one.is_unsent
        if ended_by == "abort":
            one.abort()
        else:
            written.close()

    in_a_turn(act, noted)
    assert noted == []
    assert made[0].is_unsent


def test_what_has_left_is_not_called_unsent(in_a_turn, noted):
    made: list[JoiningTransport] = []

    def act(turn) -> None:
        written = Written("one", noted)
        made.append(JoiningTransport(written, turn))
        made[0].write(b"request")
        turn.flush()
        written.close()

    in_a_turn(act, noted)
    made[0].abort()
    assert noted == [("one", b"request")]
    assert not made[0].is_unsent


def test_one_connections_fault_holds_up_no_other(in_a_turn, caplog, monkeypatch, noted):
    said_by = []
    tell = transport.log.exception

    def note(text: str) -> None:
        said_by.append(CONTEXT.get())
        tell(text)

    monkeypatch.setattr(transport.log, "exception", note)
    broken = Written("broken", noted, is_broken=True)

    def act(turn) -> None:
        for written in (Written("one", noted), broken, Written("two", noted)):
            JoiningTransport(written, turn).write(b"answer")

    token = CONTEXT.set({"request_id": "req_of_one"})
    in_a_turn(act, noted)
    CONTEXT.reset(token)
    assert noted == [("one", b"answer"), ("two", b"answer")]
    assert broken.is_closed
    assert "could not be written to" in caplog.text
    assert said_by == [{}], "it is not of the request that wrote first"


def test_what_is_held_does_not_wait_for_what_takes_long(in_a_turn, noted):
    def act(turn) -> None:
        for _ in range(3):
            turn.expect()
        one, two = (JoiningTransport(Written(name, noted), turn) for name in ("one", "two"))
        one.write_expected(b"answer")
        turn.flush()
        noted.append(("long work", b""))
        two.write_expected(b"answer")

    assert in_a_turn(act, noted) == [("one", b"answer"), ("long work", b"")]
    assert noted[2:] == [("two", b"answer")]


@pytest.mark.parametrize(("size", "is_sent"), [(LONG_BODY_BYTES, False), (2**20, True)])
def test_nobodys_answer_waits_until_a_long_body_is_understood(in_a_turn, size, is_sent, noted):
    def act(turn) -> None:
        JoiningTransport(Written("one", noted), turn).write(b"answer")
        exchange = Exchange.__new__(Exchange)
        exchange.more_body, exchange.body = False, bytearray(size)
        exchange.flow = SimpleNamespace(resume_reading=lambda: None)
        exchange._joining = JoiningTransport(Written("two", noted), turn)
        assert len(exchange.body_now()) == size

    assert bool(in_a_turn(act, noted)) == is_sent
    assert noted == [("one", b"answer")]


def test_a_turn_follows_a_turn(in_a_turn, noted):
    def act(turn) -> None:
        one = JoiningTransport(Written("one", noted), turn)
        one.write(b"first")
        asyncio.get_running_loop().call_soon(one.write, b"second")

    in_a_turn(act, noted)
    assert b"".join(data for _, data in noted) == b"firstsecond"
