"""A stand-in for an OpenAI-compatible endpoint that writes texts, or fails as a test says."""

import asyncio
import json
from dataclasses import dataclass, field


@dataclass
class FakeOpenAi:
    """An ASGI application; what it says depends on the prompt and the seed alone."""

    key: str = "writer-key"
    statuses: list[int] = field(default_factory=list)
    """The first requests' statuses, in order; then 200."""
    bad_topic: str = "\0"
    """A request whose prompt holds it answers 500."""
    body: str | None = None
    """What is answered instead of a text."""
    requests: list[dict] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    async def __call__(self, scope, receive, send):
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        content, more = b"", True
        while more:
            event = await receive()
            content, more = content + event.get("body", b""), event.get("more_body", False)
        request = json.loads(content) | {"path": scope["path"]}
        self.requests.append(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0.01)
        self.under_way -= 1
        status, answer = self.answer(request, headers.get("authorization"))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer.encode()})

    def answer(self, request, authorization) -> tuple[int, str]:
        is_chat = request["path"].endswith("/chat/completions")
        prompt = request["messages"][0]["content"] if is_chat else request["prompt"]
        if authorization != f"Bearer {self.key}":
            return 401, f"no: {prompt}"
        if self.bad_topic in prompt:
            return 500, f"broken: {prompt}"
        if self.statuses:
            return self.statuses.pop(0), f"no: {prompt}"
        # An odd seed gives an answer with a wording that a test can exclude.
        ending = "an answer" if request["seed"] % 2 else "a text"
        text = f" {prompt} {request['seed']} {ending}\n"
        choice = {"message": {"content": text}} if is_chat else {"text": text}
        return 200, self.body or json.dumps({"choices": [choice]})
