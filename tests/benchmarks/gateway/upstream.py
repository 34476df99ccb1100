"""A fast stand-in for an engine: it answers at once, or streams events at a steady pace.

python -m tests.benchmarks.gateway.upstream PORT DIGEST EVENT_MS
"""

import asyncio
import json
import re
import sys

import httptools
import uvloop

MARK = b"the capital of France is Paris"
EVENT = (
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk",'
    b'"created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" Paris"},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
COUNTED = EVENT.replace(
    b"}\n\n",
    b',"usage":{"prompt_tokens":20,"total_tokens":120,"completion_tokens":100}}\n\n',
)
"""An event as vLLM sends it to who asks for the usage all along."""
USAGE = (
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk",'
    b'"created":1700000000,"model":"m","choices":[],"usage":{"prompt_tokens":20,"total_tokens":120,'
    b'"completion_tokens":100}}\n\n'
)
DONE = b"data: [DONE]\n\n"
ANSWER = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": (MARK.decode() + ". ") * 15},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120},
    },
    separators=(",", ":"),
).encode()
WANTED = re.compile(rb'"max_tokens": ?(\d+)')
IS_STREAM = re.compile(rb'"stream": ?true')


def answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Server(asyncio.Protocol):
    """One connection."""

    digest = ""
    event_seconds = 0.01

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.url = b""
        self.timer = None

    def data_received(self, data):
        self.parser.feed_data(data)

    def connection_lost(self, exc):
        if self.timer:
            self.timer.cancel()

    def on_url(self, url):
        self.url = url

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        body, self.body = self.body, b""
        if self.parser.get_method() == b"GET":
            models = {"object": "list", "data": [{"id": self.digest, "object": "model"}]}
            self.transport.write(answer(json.dumps(models).encode()))
        elif IS_STREAM.search(body):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            self.transport.write(head + b"transfer-encoding: chunked\r\n\r\n")
            wanted = WANTED.search(body)
            self.left = int(wanted[1]) if wanted else 100
            self.event = COUNTED if b"continuous_usage_stats" in body else EVENT
            self.next_event()
        else:
            self.transport.write(answer(ANSWER))

    def next_event(self):
        if self.left:
            self.left -= 1
            self.transport.write(chunk(self.event))
            self.timer = asyncio.get_running_loop().call_later(self.event_seconds, self.next_event)
        else:
            self.timer = None
            self.transport.write(chunk(USAGE) + chunk(DONE) + b"0\r\n\r\n")


async def main(port: int, digest: str, event_ms: float) -> None:
    Server.digest, Server.event_seconds = digest, event_ms / 1000
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", port, backlog=8192)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
