"""The load: requests one after another, at a steady rate, as streams, or streams held open.

    python -m tests.benchmarks.gateway.load '{"mode": "closed", "ports": […]}'

Prints `begin` after warming up and `end {figures}` at the end; CPU is read at these two lines.
Every answer is checked: what is missing is lost, what is not what the upstream said is wrong.
"""

import asyncio
import json
import random
import select
import socket
import sys
import time

import httptools
import uvloop

from tests.benchmarks.gateway.upstream import ANSWER, DONE

WARM_SECONDS = 1.0


def request(given: dict, *, stream: bool) -> bytes:
    message = {"role": "user", "content": "What is the capital of France? " * 4}
    body = {"model": given["model"], "messages": [message], "max_tokens": given.get("events", 100)}
    if stream:
        body["stream"] = True
    raw = json.dumps(body).encode()
    headers = {"host": "127.0.0.1", "content-type": "application/json", **given["headers"]}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    line = f"POST {given['path']} HTTP/1.1\r\n{head}content-length: {len(raw)}\r\n\r\n"
    return line.encode() + raw


class Tally:
    """What came of the requests."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.done = self.events = self.wrong = self.lost = 0
        self.seconds: list[float] = []

    def figures(self, seconds: float) -> dict:
        found = sorted(self.seconds) or [0.0]
        return {
            "requests": self.done,
            "events": self.events,
            "wrong": self.wrong,
            "lost": self.lost,
            "seconds": seconds,
            "p50_ms": found[len(found) // 2] * 1000,
            "p99_ms": found[min(len(found) - 1, int(len(found) * 0.99))] * 1000,
        }


class Client(asyncio.Protocol):
    """One connection that asks again and again."""

    def __init__(self, raw: bytes, tally: Tally, *, stream: bool, events: int) -> None:
        self.raw, self.tally, self.stream, self.wanted = raw, tally, stream, events
        self.is_running = True

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)
        self.ask()

    def ask(self):
        self.parts: list[bytes] = []
        self.sent_at = time.perf_counter()
        self.transport.write(self.raw)

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_body(self, body):
        self.parts.append(body)
        if self.stream:
            self.tally.events += body.count(b"\ndata:") + body.startswith(b"data:")

    def on_message_complete(self):
        tally, body = self.tally, b"".join(self.parts)
        tally.seconds.append(time.perf_counter() - self.sent_at)
        tally.done += 1
        if self.parser.get_status_code() != 200 or not self.is_right(body):
            if not tally.wrong:
                print(self.parser.get_status_code(), body[:300], file=sys.stderr)
            tally.wrong += 1
        self.parser = httptools.HttpResponseParser(self)
        if self.is_running:
            asyncio.get_running_loop().call_soon(self.ask)
        else:
            self.transport.close()

    def is_right(self, body: bytes) -> bool:
        if self.stream:
            return body.count(b" Paris") == self.wanted and body.rstrip().endswith(DONE.strip())
        return b"the capital of France is Paris" in body and len(body) >= len(ANSWER) * 0.8

    def connection_lost(self, exc):
        if self.is_running:
            self.tally.lost += 1


async def closed(given: dict, *, stream: bool) -> None:
    """As many requests as are answered, each connection one after another."""
    loop, tally = asyncio.get_running_loop(), Tally()
    raw = request(given, stream=stream)
    clients = []
    for index in range(given["connections"]):
        _, client = await loop.create_connection(
            lambda: Client(raw, tally, stream=stream, events=given.get("events", 100)),
            "127.0.0.1",
            given["ports"][index % len(given["ports"])],
        )
        clients.append(client)
    await asyncio.sleep(WARM_SECONDS)
    begin(tally)
    started = time.perf_counter()
    await asyncio.sleep(given["seconds"])
    end(tally, time.perf_counter() - started)
    for client in clients:
        client.is_running = False
        client.transport.abort()


async def held(given: dict) -> None:
    """Open streams and hold them until a line comes in."""
    loop, tally = asyncio.get_running_loop(), Tally()
    raw = request(given, stream=True)
    clients = []
    for index in range(given["connections"]):
        _, client = await loop.create_connection(
            lambda: Client(raw, tally, stream=True, events=given["events"]),
            "127.0.0.1",
            given["ports"][0],
        )
        clients.append(client)
        if index % 50 == 49:
            await asyncio.sleep(0.05)
    while sum(bool(client.parts) for client in clients) + tally.done < len(clients):
        if tally.lost or tally.wrong:
            break
        await asyncio.sleep(0.1)
    begin(tally)
    await loop.run_in_executor(None, sys.stdin.readline)
    end(tally, 0.0)
    for client in clients:
        client.is_running = False
        client.transport.abort()


def steady(given: dict) -> None:
    """Requests at random moments with a steady mean rate, whoever is still being answered.

    By `select`, whose waits are exact to some 50 µs; the event loop's timers are to a millisecond.
    """
    raw, tally = request(given, stream=False), Tally()
    free = [socket.create_connection(("127.0.0.1", given["ports"][0])) for _ in range(64)]
    for one in free:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    waiting: dict[socket.socket, tuple[float, bytes]] = {}
    chance = random.Random(1)
    started = due = time.perf_counter()
    begins, ends = started + WARM_SECONDS, started + WARM_SECONDS + given["seconds"]
    is_begun = False
    while (now := time.perf_counter()) < ends:
        if not is_begun and now >= begins:
            is_begun = True
            begin(tally)
        if due <= now and free:
            one = free.pop()
            one.sendall(raw)
            waiting[one] = (time.perf_counter(), b"")
            due += chance.expovariate(given["rate"])
            continue
        ready, _, _ = select.select(list(waiting), [], [], max(0.0, min(due, ends) - now))
        for one in ready:
            sent_at, body = waiting[one]
            body += one.recv(65536)
            if len(body) < len(ANSWER) or not body.endswith(b"}"):
                waiting[one] = (sent_at, body)
                continue
            tally.seconds.append(time.perf_counter() - sent_at)
            tally.done += 1
            tally.wrong += not body.startswith(b"HTTP/1.1 200") or ANSWER[-200:] not in body
            del waiting[one]
            free.append(one)
    end(tally, given["seconds"])


def begin(tally: Tally) -> None:
    tally.begin()
    print("begin", flush=True)


def end(tally: Tally, seconds: float) -> None:
    print("end " + json.dumps(tally.figures(seconds)), flush=True)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if asked["mode"] == "steady":
        steady(asked)
    elif asked["mode"] == "held":
        uvloop.run(held(asked))
    else:
        uvloop.run(closed(asked, stream=asked["mode"] == "streams"))
