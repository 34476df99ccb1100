"""A stand-in for vLLM's server, for faults that the real one shows too rarely.

The tests in tests/e2e run the same paths on the real one.
"""

import asyncio
import json
from dataclasses import dataclass, field

from tests.fakes import dialects
from tests.fakes.vllm_metrics import VllmMetrics

UNREADABLE = {
    "no text": b'{"data":[{"id":"\xff"}]}',
    "nested without end": b'{"data":' + b"[" * 60_000,
}
"""What it says of its models, by mode."""


@dataclass
class FakeVllm:
    """An ASGI application that answers like vLLM, or fails as `mode` says."""

    digest: str
    text: str
    api_key: str = "engine-key"
    mode: str = "ok"
    bodies: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    aborted: int = 0
    tokens: int = 4
    delay_seconds: float = 0.0
    also_lists: list[str] = field(default_factory=list)
    is_lax: bool = False
    """Answers whatever digest is asked for, as an engine would that was started by hand."""
    token_ids: tuple[int, ...] = (5, 6, 7)
    odd_replays: int = 0
    """How many of the next answers to a fingerprint's prompt differ."""
    metrics: VllmMetrics = field(default_factory=VllmMetrics)
    metrics_text: bytes = b""
    """What it says of itself instead."""
    scrapes: int = 0
    told: int = 0
    """How many tokens it has said last that a stream's answer has."""

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        if scope["path"] == "/metrics":
            self.scrapes += 1
            return await self.raw(send, 200, self.metrics_text or self.metrics.render())
        if headers.get("authorization") != f"Bearer {self.api_key}":
            return await self.reply(send, 401, {"error": "Unauthorized"})
        if scope["path"] == "/health":
            return await self.reply(send, 503 if self.mode == "dead" else 200, {})
        if scope["path"] == "/v1/models" and self.mode in UNREADABLE:
            return await self.raw(send, 200, UNREADABLE[self.mode])
        if scope["path"] == "/v1/models":
            names = ["smollm2:label", self.digest, *self.also_lists]
            padding = "x" * 65_536 if self.mode == "long" else ""
            listed = {"data": [{"id": name} for name in names], "padding": padding}
            return await self.reply(send, 200, listed)
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        request = json.loads(body)
        self.bodies.append(request)
        self.headers.append(headers)
        if request["model"] != self.digest and not self.is_lax:
            fault = {"error": {"message": "no such model", "code": 404}}
            return await self.reply(send, 404, fault)
        if scope["path"] == "/v1/embeddings":
            return await self.raw(send, 404, b'{"detail":"Not Found"}')
        work = asyncio.create_task(self.answer(request, send, scope["path"]))
        gone = asyncio.create_task(receive())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self.aborted += 1
            work.cancel()
        gone.cancel()
        return None

    async def answer(self, request, send, path):
        if self.mode == "stall":
            await asyncio.sleep(60)
        if self.mode == "500":
            return await self.reply(send, 500, {"error": {"message": "secret inside"}})
        if self.mode == "400":
            message = f"max_tokens too large for {self.digest}"
            return await self.reply(send, 400, {"error": {"message": message, "code": 400}})
        if self.mode == "garbage":
            return await self.raw(send, 200, b"<html>what?</html>")
        self.metrics.count(3, self.tokens)
        usage = {"prompt_tokens": 3, "completion_tokens": self.tokens, "total_tokens": 7}
        if not request.get("stream"):
            await asyncio.sleep(self.delay_seconds * self.tokens)
            other = dialects.whole(path, self.text, self.tokens)
            if other is not None:
                return await self.reply(send, 200, other)
            message = {"role": "assistant", "content": self.text}
            choice = {"index": 0, "message": message, "text": self.text, "finish_reason": "stop"}
            if request.get("return_token_ids"):
                choice["token_ids"] = [0] if self.odd_replays else self.token_ids
                self.odd_replays = max(0, self.odd_replays - 1)
            answer = {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": "smollm2:label",
                "choices": [choice],
                "usage": usage,
            }
            return await self.reply(send, 200, answer)
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"content-type", b"text/event-stream")]})
        if path in ("/v1/responses", "/v1/messages"):
            return await self.named_events(send, path)
        if self.mode == "refusal event":
            fault = {"message": f"a bad schema for {self.digest}", "code": 400}
            told = f"data: {json.dumps({'error': fault})}\n\ndata: [DONE]\n\n"
            return await send({"type": "http.response.body", "body": told.encode()})
        for index in range(self.tokens):
            await asyncio.sleep(self.delay_seconds)
            if self.mode == "die" and index == 2:
                raise ConnectionError("the engine died")
            if self.mode == "cut" and index == 2:
                return await send({"type": "http.response.body", "body": b""})
            if self.mode == "error event" and index == 2:
                # As vLLM does, also when its core has died: the API's server outlives it a little.
                fault = {"message": "secret inside", "type": "InternalServerError", "code": 500}
                told = f"data: {json.dumps({'error': fault})}\n\ndata: [DONE]\n\n"
                return await send({"type": "http.response.body", "body": told.encode()})
            choice = {"index": 0, "delta": {"content": self.text}, "text": self.text}
            self.told = index + 1
            counted = {"prompt_tokens": 3, "total_tokens": 3 + self.told}
            counted["completion_tokens"] = self.told
            asked = (request.get("stream_options") or {}).get("continuous_usage_stats")
            await self.event(send, {"choices": [choice], **({"usage": counted} if asked else {})})
        await self.event(send, {"choices": [], "usage": usage})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        return None

    async def named_events(self, send, path):
        before, tokens, after = dialects.events(path, self.text, self.tokens)
        stream = [*before, *tokens, *after]
        if self.mode == "error event":
            fault = b'{"type":"error","error":{"message":"secret inside"}}'
            stream[2:] = [b"event: error\ndata: " + fault + b"\n\n"]
        for index, event in enumerate(stream):
            if index > len(before):
                await asyncio.sleep(self.delay_seconds)
            if self.mode == "die" and index == 2:
                raise ConnectionError("the engine died")
            if self.mode == "die in the middle" and index == len(before) + 1:
                raise ConnectionError("the engine died")
            if self.mode == "cut" and index == 2:
                return await send({"type": "http.response.body", "body": b""})
            await send({"type": "http.response.body", "body": event, "more_body": True})
        return await send({"type": "http.response.body", "body": b""})

    async def event(self, send, extra):
        chunk = {
            "id": "x",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "smollm2:label",
            **extra,
        }
        line = b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": line, "more_body": True})

    async def reply(self, send, status, body):
        await self.raw(send, status, json.dumps(body).encode())

    async def raw(self, send, status, body):
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
