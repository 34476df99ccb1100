"""What the gateway asks an engine outside of requests: what it serves, attests and says.

`GET /health` and `GET /v1/models` on the engine, `GET /attest` on its side-car with a new nonce
each time, and the prompts of its behavioural fingerprint. Any doubt is a no.
"""

import asyncio
import secrets
from collections.abc import Callable

import aiohttp
import msgspec

from gateway.dataplane.answers import UNREADABLE
from gateway.dataplane.catalogue import EngineAddress
from gateway.policy.attestation import Answer, Attested, Unattested

PROBE_TIMEOUT_SECONDS = 5.0
REPLAY_TIMEOUT_SECONDS = 60.0
MAX_ANSWER_BYTES = 65_536
"""An engine that has been taken over must not fill its gateways' memory."""
NETWORK_FAULTS = (aiohttp.ClientError, TimeoutError, OSError)

Verify = Callable[[bytes, str], Attested | Unattested]
"""Given the side-car's answer and the nonce, says what is attested."""


class TooLongError(Exception):
    """What came has more bytes than an answer can have."""


async def read_body(response: aiohttp.ClientResponse) -> bytes:
    """Return an answer's body.

    Raises:
        TooLongError: It has more than `MAX_ANSWER_BYTES`.
    """
    try:
        await response.content.readexactly(MAX_ANSWER_BYTES + 1)
    except asyncio.IncompleteReadError as whole:
        return whole.partial
    raise TooLongError


class _Served(msgspec.Struct):
    id: str


class _ServedList(msgspec.Struct):
    data: list[_Served]


class _Choice(msgspec.Struct):
    token_ids: list[int]


class _Completion(msgspec.Struct):
    choices: list[_Choice]


class Probe:
    """Asks engines."""

    def __init__(self, client: aiohttp.ClientSession, verify: Verify) -> None:
        """Use `client`'s connections, and `verify` for what side-cars answer."""
        self._client = client
        self._verify = verify

    async def serves_its_digest(self, address: EngineAddress) -> bool:
        """Whether an engine is well, and names its digest and no other."""
        try:
            # vLLM's server names its models for a while after its core has died; this fails then.
            async with self._client.get(
                f"{address.url}/health",
                headers={"authorization": f"Bearer {address.api_key}"},
                timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_SECONDS),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    return False
            async with self._client.get(
                f"{address.url}/v1/models",
                headers={"authorization": f"Bearer {address.api_key}"},
                timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_SECONDS),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    return False
                served = msgspec.json.decode(await read_body(response), type=_ServedList)
        except (*NETWORK_FAULTS, TooLongError, *UNREADABLE):
            return False
        digests = {entry.id for entry in served.data if entry.id.startswith("sha256:")}
        return digests == {address.digest}

    async def attested(self, address: EngineAddress) -> Attested | Unattested | None:
        """Return what an engine's launcher says; None when it does not answer."""
        nonce = secrets.token_hex(32)
        try:
            async with self._client.get(
                f"{address.attest_url}/attest",
                params={"nonce": nonce},
                timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_SECONDS),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    return Unattested(f"the side-car answers {response.status}")
                raw = await read_body(response)
        except TooLongError:
            return Unattested("the side-car answers too much")
        except NETWORK_FAULTS:
            return None
        return self._verify(raw, nonce)

    async def says(self, address: EngineAddress, answers: tuple[Answer, ...]) -> bool | None:
        """Whether an engine says what its fingerprint says; None when it does not answer."""
        try:
            async with asyncio.timeout(REPLAY_TIMEOUT_SECONDS):
                for answer in answers:
                    said = await self._complete(address, answer)
                    if said is None or said != answer.tokens:
                        return None if said is None else False
        except (*NETWORK_FAULTS, TooLongError, *UNREADABLE):
            return None
        return True

    async def _complete(self, address: EngineAddress, answer: Answer) -> tuple[int, ...] | None:
        # The request that recorded it (models/fingerprint.py): another one may sample otherwise.
        request = {
            "model": address.digest,
            "prompt": answer.prompt,
            "max_tokens": len(answer.tokens),
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
            "logprobs": 2,
        }
        async with self._client.post(
            f"{address.url}/v1/completions",
            json=request,
            headers={"authorization": f"Bearer {address.api_key}"},
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                return None
            said = msgspec.json.decode(await read_body(response), type=_Completion)
        return tuple(said.choices[0].token_ids) if said.choices else None
