"""Further gateway processes on one database, ways to it that can be cut, and streams from both."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from sqlalchemy import make_url

from tests.servers import free_port, wait_for

ROOT = Path(__file__).resolve().parents[1]
AIRLOCK = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]
NOTIFICATION = b"A"
LOOK_SECONDS = 0.005


class Way:
    """A way to PostgreSQL that can lose its announcements, or be cut as by a stopped router.

    What is sent on a cut way is not lost and no connection breaks: it waits.
    """

    def __init__(self, database_url: str) -> None:
        self.loses_announcements = False
        self.is_cut = False
        self.port = 0
        url = make_url(database_url)
        self._socket = f"{url.query['host']}/.s.PGSQL.5432"
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        self._url = url.set(host="127.0.0.1", query=plain)

    @property
    def url(self) -> str:
        """The database's address by this way."""
        return self._url.set(port=self.port).render_as_string(hide_password=False)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Carry connections, in a thread of its own."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        start = asyncio.start_server(self._carry, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(start, loop).result(10)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            self.is_cut = False
            asyncio.run_coroutine_threadsafe(self._end(server), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()

    async def _end(self, server: asyncio.Server) -> None:
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._socket)
        except OSError:
            writer.close()
            return
        there = asyncio.create_task(self._there(reader, to_server))
        back = asyncio.create_task(self._back(from_server, writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task, end in ((there, to_server), (back, writer)):
                task.cancel()
                end.close()

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._pass(writer, data)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
                if head[:1] != NOTIFICATION or not self.loses_announcements:
                    await self._pass(writer, head + body)

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while self.is_cut:  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(LOOK_SECONDS)
        writer.write(data)
        await writer.drain()


@contextlib.contextmanager
def replica(running, way: Way, **environment: str) -> Iterator[str]:
    """Run `airlock serve` beside a gateway that runs; yield its address."""
    settings, port = running.settings, free_port()
    engines = [engine.model_dump(mode="json") for engine in settings.engines]
    given = os.environ | {
        "AIRLOCK_DATABASE_URL": way.url,
        "AIRLOCK_SECRET_FILE": str(settings.secret_file),
        "AIRLOCK_ENGINES": json.dumps(engines),
        "AIRLOCK_PROBE_SECONDS": str(settings.probe_seconds),
        "AIRLOCK_PRIVILEGED_MAX_AGE_SECONDS": str(settings.privileged_max_age_seconds),
        **environment,
    }
    log = settings.home / f"replica-{port}.log"
    words = [*AIRLOCK, "--home", str(settings.home), "serve", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(words, cwd=ROOT, env=given, stdout=out, stderr=out)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _is_ready(process, url, log), 60)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(process: subprocess.Popen, url: str, log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-3000:]
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    return False


class Stream(threading.Thread):
    """A streamed answer, read in a thread of its own."""

    def __init__(
        self, url: str, key: str, model: str, question="What is the capital of France?", **fields
    ) -> None:
        super().__init__(daemon=True)
        self.url, self.key = url, key
        message = {"role": "user", "content": question}
        self.body = {"model": model, "messages": [message], "stream": True, **fields}
        self.status, self.text = 0, ""
        self.last_at = 0.0
        """When the last token came, by the monotonic clock."""
        self.start()

    def run(self) -> None:
        with httpx.stream(
            "POST",
            f"{self.url}/v1/chat/completions",
            json=self.body,
            headers={"authorization": f"Bearer {self.key}"},
            timeout=60,
        ) as answer:
            self.status = answer.status_code
            for line in answer.iter_lines():
                if '"delta"' in line:
                    self.last_at = time.monotonic()
                self.text += line

    @property
    def has_begun(self) -> bool:
        """Whether a token has come."""
        return self.last_at > 0
