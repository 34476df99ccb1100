"""One request to an engine: what it is sent, how long it may take, what its faults mean."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from gateway.dataplane.pool import Pool, Replica
from gateway.errors import (
    AirlockError,
    EndpointNotServedError,
    EngineFailedError,
    EngineTimeoutError,
    EngineUnavailableError,
    InvalidRequestError,
)
from gateway.settings import Settings

MAX_ERROR_BYTES = 65_536
NO_ROUTE = b'{"detail":"Not Found"}'
"""How vLLM answers a path that it has not."""
log = logging.getLogger(__name__)


class _Fault(msgspec.Struct):
    message: str = ""


class _FaultBody(msgspec.Struct):
    error: _Fault


class Upstream:
    """Sends requests to engines."""

    def __init__(self, client: aiohttp.ClientSession, pool: Pool, settings: Settings) -> None:
        """Use `client`'s connections."""
        self._client = client
        self._pool = pool
        self._timeout = aiohttp.ClientTimeout(
            total=settings.request_timeout_seconds,
            sock_connect=settings.connect_timeout_seconds,
            sock_read=settings.idle_timeout_seconds,
        )

    @asynccontextmanager
    async def post(
        self, replica: Replica, path: str, body: bytes, request_id: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield an engine's good answer; leaving the block ends the engine's work on it.

        The engine gets none of the caller's headers.

        Raises:
            InvalidRequestError: The engine finds the request itself wrong.
            EngineUnavailableError: It cannot be reached, or serves another checkpoint.
            EngineFailedError: It failed, also in the middle of its answer.
            EngineTimeoutError: It took too long.
        """
        try:
            async with self._client.post(
                replica.address.url + path,
                data=body,
                headers={
                    "authorization": f"Bearer {replica.address.api_key}",
                    "content-type": "application/json",
                    "x-request-id": request_id,
                },
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise await self._fault(response, replica, path)
                yield response
        except aiohttp.ClientConnectorError as error:
            self._pool.distrust(replica)
            raise EngineUnavailableError from error
        except TimeoutError as error:
            raise EngineTimeoutError from error
        except (aiohttp.ClientError, OSError) as error:
            # The connection broke: the process may have died. A probe decides when it is back.
            self._pool.distrust(replica)
            raise EngineFailedError from error

    async def _fault(
        self, response: aiohttp.ClientResponse, replica: Replica, path: str
    ) -> AirlockError:
        """Return what an engine's error status means for the caller."""
        if response.status == 400:
            raw = await response.content.read(MAX_ERROR_BYTES)
            try:
                message = msgspec.json.decode(raw, type=_FaultBody).error.message
            except msgspec.MsgspecError:
                message = "The engine refused the request."
            # The engine knows the checkpoint by its digest; the caller asked for it by name.
            return InvalidRequestError(message.replace(replica.address.digest, "the model")[:2000])
        if response.status == 404 and await response.content.read(MAX_ERROR_BYTES) == NO_ROUTE:
            # It is the engine, and the model that it serves has no such endpoint.
            return EndpointNotServedError(path)
        # 404: it does not serve that digest. 401: it does not know our key. Either way it is not
        # the engine that was verified.
        if response.status in (401, 403, 404):
            self._pool.distrust(replica)
            log.error(
                "an engine is not what was verified",
                extra={"airlock": {"url": replica.address.url, "status": response.status}},
            )
            return EngineUnavailableError()
        return EngineUnavailableError() if response.status == 503 else EngineFailedError()


async def read_whole(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Return an engine's whole answer.

    Raises:
        EngineFailedError: It is longer than any answer can be.
    """
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit_bytes:
            raise EngineFailedError
        parts.append(part)
    return b"".join(parts)
