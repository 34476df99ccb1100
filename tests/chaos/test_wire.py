"""The wire that the chaos suite puts between parts: what it does to them is what is measured."""

import asyncio
import contextlib
import time

import pytest

from tests.chaos.wire import Wire, to_port


async def echo(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(1000):
            writer.write(data)
    writer.close()


async def is_ended(reading) -> bool:
    try:
        return await reading == b""
    except ConnectionError:
        return True


async def with_wire(work, delay_seconds: float = 0.1):
    far = await asyncio.start_server(echo, "127.0.0.1", 0)
    wire = Wire(to_port(far.sockets[0].getsockname()[1]), delay_seconds=delay_seconds)
    port = await wire.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def say(text: bytes) -> bytes:
        writer.write(text)
        return await reader.read(1000)

    try:
        assert await say(b"one") == b"one"
        await work(wire, say, port)
    finally:
        writer.close()
        await wire.close()
        far.close()
        await asyncio.sleep(0.05)


def test_what_is_slow_arrives_later_and_what_is_held_when_it_is_let_go():
    async def work(wire: Wire, say, _port):
        wire.set("slow")
        began = time.monotonic()
        assert await say(b"two") == b"two"
        assert time.monotonic() - began >= 0.2
        wire.set("held")
        waiting = asyncio.create_task(say(b"three"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.3)
        wire.set("whole")
        assert await asyncio.wait_for(waiting, 5) == b"three"

    asyncio.run(with_wire(work))


def test_what_is_cut_ends_and_nothing_new_gets_through():
    async def work(wire: Wire, say, port):
        wire.set("cut")
        assert await is_ended(say(b"two"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"three")
        assert await is_ended(reader.read(10))
        writer.close()

    asyncio.run(with_wire(work))


def test_requests_that_pass_are_known_by_their_ids():
    async def work(wire: Wire, say, _port):
        await say(b"POST / HTTP/1.1\r\nX-Request-Id: req_1\r\nhost: a\r\n\r\n")
        assert wire.request_ids == {"req_1"}

    asyncio.run(with_wire(work))
