"""The side-car: a small HTTP server beside an engine that answers `GET /attest?nonce=…`.

It runs in the launcher, not in the engine, so that what it says does not come from the process that
it speaks of.
"""

import http.server
import re
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import parse_qs, urlsplit

from models.attestation import NONCE_PATTERN
from models.errors import RegistryError

SOCKET_TIMEOUT_SECONDS = 5.0


class SideCar:
    """Answers in a thread of its own; a context manager."""

    def __init__(self, host: str, port: int, attest: Callable[[str], bytes]) -> None:
        """Bind the port, so that its number is known.

        Args:
            host: The address to listen on.
            port: 0 for any that is free.
            attest: Returns the signed answer to a nonce; raises a `RegistryError` when nothing can
                be attested now.

        Raises:
            OSError: The port is taken.
        """
        handler = type("Handler", (_Handler,), {"attest": staticmethod(attest)})
        self._server = http.server.ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://{host}:{self._server.server_port}"
        """Its root address."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    attest: Callable[[str], bytes]
    timeout = SOCKET_TIMEOUT_SECONDS

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        nonces = parse_qs(parts.query).get("nonce", [])
        if parts.path != "/attest":
            self._reply(404, b"there is only /attest?nonce=...\n")
        elif len(nonces) != 1 or not re.fullmatch(NONCE_PATTERN, nonces[0]):
            self._reply(400, b"nonce must be 32 to 128 hexadecimal digits\n")
        else:
            try:
                self._reply(200, self.attest(nonces[0]), "application/json")
            except RegistryError as error:
                self._reply(503, f"{error}\n".encode())

    def _reply(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet: it is asked every second."""
