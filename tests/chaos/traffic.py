"""Callers of both doors at both gateways, who ask all the while and check what they are given."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import httpx

Who = Literal["public", "researcher"]
TIMEOUT_SECONDS = 10.0
MAX_TOKENS = 8
PAUSE_SECONDS = 0.25
STORY = "Name a city and say one thing about it. This is question {number}."
"""Each request is another one: one under which an engine died is held back."""


class Asked(NamedTuple):
    """One request and what came of it."""

    at: float
    """On the monotonic clock, as all moments here."""
    ended: float
    gateway: int
    who: Who
    status: int
    """0 when there was no answer, or no end of it."""
    code: str
    """Of the error, if any."""
    checkpoint: str
    """What the answer says has made it."""
    request_id: str
    tokens: int
    """Prompt and completion, as the answer says."""
    is_stream: bool

    @property
    def is_served(self) -> bool:
        """Whether the whole answer came."""
        return self.status == 200


@dataclass
class Traffic:
    """The callers; `asked` grows while `run` runs."""

    ports: Sequence[int]
    keys: dict[Who, str]
    model: str
    asked: list[Asked] = field(default_factory=list)
    _may_ask: asyncio.Event = field(default_factory=asyncio.Event)
    _asking: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.asynccontextmanager
    async def pausing(self) -> AsyncIterator[None]:
        """Have nobody ask, once those who do have their answers."""
        self._may_ask.clear()
        while self._asking:  # noqa: ASYNC110 - it is no matter of microseconds
            await asyncio.sleep(0.05)
        try:
            yield
        finally:
            self._may_ask.set()

    async def run(self) -> None:
        """Ask until cancelled: at each gateway each door by a stream and without."""
        self._may_ask.set()
        async with (
            httpx.AsyncClient(
                timeout=TIMEOUT_SECONDS, limits=httpx.Limits(max_keepalive_connections=0)
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for gateway in range(len(self.ports)):
                for who in self.keys:
                    for is_stream in (False, True):
                        group.create_task(self._caller(client, gateway, who, is_stream=is_stream))
                group.create_task(self._trespasser(client, gateway))

    async def _caller(
        self, client: httpx.AsyncClient, gateway: int, who: Who, *, is_stream: bool
    ) -> None:
        while True:
            self.asked.append(await self.ask(client, gateway, who, is_stream=is_stream))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _trespasser(self, client: httpx.AsyncClient, gateway: int) -> None:
        """A public caller that asks for the base by its name."""
        while True:
            found = await self.ask(client, gateway, "public", model=f"{self.model}:base")
            # It is refused, which is as it should be: only what it was given by mistake counts.
            if found.is_served:
                self.asked.append(found)
            await asyncio.sleep(1)

    async def ask(
        self,
        client: httpx.AsyncClient,
        gateway: int,
        who: Who,
        *,
        is_stream: bool = False,
        model: str | None = None,
    ) -> Asked:
        """Ask once."""
        # Who was woken may have slept through the beginning of the next pause.
        while not self._may_ask.is_set():
            await self._may_ask.wait()
        self._asking += 1
        try:
            return await self._ask(client, gateway, who, model or self.model, is_stream=is_stream)
        finally:
            self._asking -= 1

    async def _ask(
        self, client: httpx.AsyncClient, gateway: int, who: Who, model: str, *, is_stream: bool
    ) -> Asked:
        story = [{"role": "user", "content": STORY.format(number=next(self._numbers))}]
        body = {"model": model, "messages": story, "max_tokens": MAX_TOKENS}
        if is_stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        at, status, head, raw = time.monotonic(), 0, httpx.Headers(), b""
        # A timeout of the whole, since an answer that trickles would never end for httpx.
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                client.stream(
                    "POST",
                    f"http://127.0.0.1:{self.ports[gateway]}/v1/chat/completions",
                    json=body,
                    headers={"authorization": f"Bearer {self.keys[who]}"},
                ) as answer,
            ):
                head = answer.headers
                async for part in answer.aiter_raw():
                    raw += part
                status = answer.status_code
        code, tokens = read(raw, is_stream=is_stream)
        if status == 200 and (code or not tokens):
            status = 0
        return Asked(
            at,
            time.monotonic(),
            gateway,
            who,
            status,
            code,
            head.get("x-airlock-checkpoint", ""),
            head.get("x-request-id", ""),
            tokens,
            is_stream,
        )


def read(raw: bytes, *, is_stream: bool) -> tuple[str, int]:
    """Return an answer's error code, if it has one, and how many tokens it says it cost."""
    parts = [raw]
    if is_stream and raw.startswith(b"data:"):
        parts = [line[5:] for line in raw.split(b"\n") if line.startswith(b"data: {")]
    code, tokens = "", 0
    for part in parts:
        with contextlib.suppress(ValueError, AttributeError):
            found = json.loads(part)
            code = (found.get("error") or {}).get("code") or code
            tokens = (found.get("usage") or {}).get("total_tokens") or tokens
    if is_stream and raw.startswith(b"data:") and b"data: [DONE]" not in raw:
        tokens = 0
    return code, tokens
