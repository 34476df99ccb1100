"""Answers are ended when their time has come, and only those."""

import asyncio

import anyio

from gateway.dataplane.deadlines import Deadlines
from gateway.dataplane.http import ClientGoneError
from gateway.errors import EngineTimeoutError
from gateway.settings import Settings


class Line:
    """A connection, as far as a deadline looks at it."""

    def __init__(self, last_at: float, *, is_awaited: bool = True) -> None:
        self.last_at = last_at
        self.is_awaited = is_awaited


def ended(
    *lines_at: tuple[float, bool] | None, idle: float, total: float = 600.0, first: int = 1
) -> list[str]:
    """Watch answers whose bytes come so long after now; name what ended the first of them."""

    async def main() -> list[str]:
        loop, found = asyncio.get_running_loop(), []
        deadlines = Deadlines(
            Settings(idle_timeout_seconds=idle, request_timeout_seconds=total, home="unused")
        )
        done = asyncio.Event()
        for number, line in enumerate(lines_at):

            def cut(error: Exception, number: int = number) -> None:
                found.append(f"{number} {type(error).__name__}")
                if len(found) == first:
                    done.set()

            deadline = deadlines.add(cut)
            if line is None:
                deadlines.discard(deadline)
            else:
                deadline.watch(Line(loop.time() + line[0], is_awaited=line[1]))
        await done.wait()
        return found

    return anyio.run(main)


def test_an_engine_that_says_nothing():
    assert ended(None, (0.0, True), (60.0, True), idle=0.2) == [f"1 {EngineTimeoutError.__name__}"]


def test_a_caller_that_does_not_read():
    assert ended((60.0, True), (0.0, False), idle=0.2) == [f"1 {ClientGoneError.__name__}"]


def test_the_whole_time_is_over_although_bytes_come():
    assert ended((60.0, True), idle=30.0, total=0.2) == [f"0 {EngineTimeoutError.__name__}"]


def test_the_timer_of_the_first_is_set_again_for_the_others():
    name = EngineTimeoutError.__name__
    assert ended((0.3, True), (0.0, True), idle=0.2, first=2) == [f"1 {name}", f"0 {name}"]
