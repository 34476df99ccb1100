"""One request to an engine: what it is sent, and what its faults mean."""

import logging
import re
from collections.abc import Callable

import msgspec

from gateway.dataplane.answers import UNREADABLE
from gateway.dataplane.connection import ConnectionLostError, EngineConnection
from gateway.dataplane.connections import Connections
from gateway.dataplane.pool import Pool
from gateway.dataplane.replica import Replica
from gateway.errors import (
    AirlockError,
    EndpointNotServedError,
    EngineFailedError,
    EngineUnavailableError,
    InvalidRequestError,
)

FIELD_VALUE = re.compile(r"[\x21-\x7e]+")
NO_ROUTE = b'{"detail":"Not Found"}'
"""How vLLM answers a path that it has not."""
log = logging.getLogger(__name__)


class _Fault(msgspec.Struct):
    message: str = ""


class _FaultBody(msgspec.Struct):
    error: _Fault


def refused(message: str, digest: str) -> InvalidRequestError:
    """Return an engine's refusal for a caller, who has asked for the checkpoint by a name."""
    return InvalidRequestError(message.replace(digest, "the model")[:2000])


class Upstream:
    """Sends requests to engines."""

    def __init__(self, connections: Connections, pool: Pool) -> None:
        """Use `connections`, and tell `pool` what becomes of requests."""
        self._connections = connections
        self._pool = pool

    async def ask(
        self,
        replica: Replica,
        path: str,
        body: bytes,
        request_id: str,
        *,
        is_stream: bool,
        on_open: Callable[[EngineConnection], None],
        traceparent: str | None = None,
    ) -> EngineConnection:
        """Return the connection on which an engine gives a good answer; it must be released.

        The engine gets none of the caller's headers. What is no stream is complete by then.

        Args:
            replica: The engine.
            path: What it is asked.
            body: The request's.
            request_id: Ours.
            is_stream: Whether the answer is to be read as it comes.
            on_open: Told of each connection before it is written to.
            traceparent: Which span the engine's own hang from.

        Raises:
            EngineUnavailableError: The engine has not begun to work on the request: it cannot be
                reached, turned it away, or is not what was verified. Another may be asked.
            InvalidRequestError: The engine finds the request itself wrong.
            EngineFailedError: It failed, perhaps because of this request.
        """
        request = b"%bx-request-id: %b\r\n%bcontent-length: %d\r\n\r\n%b" % (
            replica.heads.get(path) or self._head(replica, path),
            request_id.encode(),
            b"traceparent: %b\r\n" % traceparent.encode() if traceparent else b"",
            len(body),
            body,
        )
        connection = self._connections.lines(replica.address).idle()
        if connection is None:
            connection = await self._connect(replica)
        was_sent = False
        try:
            try:
                on_open(connection)
                status = await connection.ask(request, is_stream=is_stream)
            except ConnectionLostError as error:
                if not (error.was_silent and connection.is_used):
                    raise
                # The engine may have closed an idle connection as we wrote. When it still answers
                # on a new one it has not died, and when it does not this request was in flight.
                connection.release()
                was_sent = error.was_sent
                connection = await self._connect_again(replica, error)
                on_open(connection)
                status = await connection.ask(request, is_stream=is_stream)
            if status != 200:
                raise self._fault(connection, replica, path)
        except (ConnectionLostError, EngineUnavailableError) as error:
            connection.release()
            if isinstance(error, ConnectionLostError):
                self._pool.distrust(replica)
                was_sent = was_sent or error.was_sent
            # What it may have begun to work on is asked of no other, whatever it says to it now.
            raise (EngineFailedError if was_sent else EngineUnavailableError) from error
        except BaseException:
            connection.release()
            raise
        return connection

    async def _connect(self, replica: Replica) -> EngineConnection:
        try:
            return await self._connections.connect(replica.address)
        except (OSError, TimeoutError) as error:
            self._pool.distrust(replica)
            raise EngineUnavailableError from error

    async def _connect_again(self, replica: Replica, lost: ConnectionLostError) -> EngineConnection:
        try:
            return await self._connections.connect(replica.address)
        except (OSError, TimeoutError):
            raise lost from None

    def _head(self, replica: Replica, path: str) -> bytes:
        address = replica.address
        if not FIELD_VALUE.fullmatch(address.api_key):
            log.error("the API key of %s cannot be sent in a header", address.url)
            raise EngineUnavailableError
        lines = (
            f"POST {path} HTTP/1.1",
            f"host: {self._connections.lines(address).host_header}",
            f"authorization: Bearer {address.api_key}",
            "content-type: application/json",
            "",
        )
        head = replica.heads[path] = "\r\n".join(lines).encode("ascii")
        return head

    def _fault(self, connection: EngineConnection, replica: Replica, path: str) -> AirlockError:
        """Return what an engine's error status means for the caller."""
        status = connection.status
        if status == 400:
            try:
                message = msgspec.json.decode(connection.whole(), type=_FaultBody).error.message
            except UNREADABLE:
                message = "The engine refused the request."
            return refused(message, replica.address.digest)
        if status == 404 and connection.whole() == NO_ROUTE:
            # It is the engine, and the model that it serves has no such endpoint.
            return EndpointNotServedError(path)
        # 404: it does not serve that digest. 401: it does not know our key. Either way it is not
        # the engine that was verified.
        if status in (401, 403, 404):
            self._pool.distrust(replica)
            log.error(
                "an engine is not what was verified",
                extra={"airlock": {"url": replica.address.url, "status": status}},
            )
            return EngineUnavailableError()
        return EngineUnavailableError() if status == 503 else EngineFailedError()
