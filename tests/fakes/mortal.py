"""A stand-in for an engine's process that can die, come back, and break HTTP on purpose.

It speaks on bare sockets, so that a test says exactly what goes over the wire and when it ends.
"""

import contextlib
import json
import socket
import struct
import threading
import time

from tests.fakes import dialects

TEXT = "the, the"
ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"the, the"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'


def whole(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class MortalEngine:
    """An engine; requests whose body says `poison` end it."""

    def __init__(self, text: str = TEXT) -> None:
        self.digest = ""
        self.text = text
        self.bodies: list[bytes] = []
        self.raw: bytes | None = None
        """What is answered instead, to the byte."""
        self.status = "200 OK"
        self.delay_seconds = 0.0
        self.events = 4
        self.padding = 0
        """Bytes that are added to each event."""
        self.dies_at = self.cuts_at = -1
        """The event of every stream at which it dies, or ends without a word."""
        self.is_deadly_late = False
        """Whether poison works after the first event."""
        self.sent_bytes = 0
        self.left_at: float | None = None
        """When a caller was last seen to leave before its answer's end."""
        self._connections: set[socket.socket] = set()
        self._busy: set[socket.socket] = set()
        self._is_dead = False
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def die(self) -> None:
        """End as a killed process does: no port, and every connection is reset."""
        # At once: no connection of a dead process answers while another has been reset already.
        self._is_dead = True
        # Closing alone does not wake the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        self._drop(self._connections)

    def drop_idle_connections(self) -> None:
        """Reset those on which nothing is being asked, not even by a probe."""
        self._drop(self._connections - self._busy)

    def _drop(self, connections: set[socket.socket]) -> None:
        for connection in list(connections):
            with contextlib.suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        self._is_dead = False
        self._listener = self._listen(self.port)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    part = connection.recv(65536)
                    if not part:
                        return
                    data += part
                self._busy.add(connection)
                head, _, data = data.partition(b"\r\n\r\n")
                lengths = [
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                ]
                while len(data) < sum(lengths):
                    data += connection.recv(65536)
                body, data = data[: sum(lengths)], data[sum(lengths) :]
                self._answer(connection, head, body)
                self._busy.discard(connection)
        self._connections.discard(connection)

    def _answer(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        if self._is_dead:
            raise ConnectionError
        if head.startswith(b"GET"):
            listed = {"data": [{"id": self.digest}]}
            connection.sendall(whole(json.dumps(listed).encode()))
            return
        self.bodies.append(body)
        if self.dies_at == 0 or (b"poison" in body and not self.is_deadly_late):
            self.die()
            return
        if self.raw is not None:
            connection.sendall(self.raw)
            return
        if self.status != "200 OK":
            connection.sendall(whole(b"{}", self.status))
            return
        path = head.split()[1].decode()
        if b'"stream":true' not in body:
            self._work(connection, self.delay_seconds)
            answer = dialects.whole(path, TEXT, 1) or ANSWER
            connection.sendall(whole(self._say(json.dumps(answer).encode())))
            return
        before, event, after = [], EVENT, [USAGE, b"data: [DONE]\n\n"]
        if path in ("/v1/responses", "/v1/messages"):
            before, [event], after = dialects.events(path, TEXT, 1)
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        event = self._say(event)
        connection.sendall(b"".join(chunk(self._say(data)) for data in before))
        for index in range(self.events):
            if self.cuts_at == index:
                connection.sendall(b"0\r\n\r\n")
                return
            if self.dies_at == index:
                self.die()
                return
            data = chunk(b":" + b"x" * self.padding + b"\n" + event if self.padding else event)
            connection.sendall(data)
            self.sent_bytes += len(data)
            self._work(connection, self.delay_seconds)
            if b"poison" in body:
                self.die()
                return
        connection.sendall(b"".join(chunk(self._say(data)) for data in after) + b"0\r\n\r\n")

    def _say(self, data: bytes) -> bytes:
        return data.replace(TEXT.encode(), self.text.encode())

    def _work(self, connection: socket.socket, seconds: float) -> None:
        """Take a while, and notice when the caller leaves meanwhile."""
        if not seconds:
            return
        connection.settimeout(seconds)
        try:
            if connection.recv(1) == b"":
                raise ConnectionError
        except TimeoutError:
            connection.settimeout(None)
        except OSError:
            self.left_at = time.monotonic()
            raise
