"""A fake identity provider: discovery and keys, and tokens of every kind, forged ones too.

The real one is `tests/conformance/node/provider.mjs`; this one can lie, be slow, and be down.
"""

import asyncio
import base64
import hmac
import json
import time
import warnings

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

AUDIENCE = "https://airlock.example"
ALGORITHMS = ["ES256", "RS256", "PS256", "Ed25519", "ES384"]


class FakeProvider:
    """Answers as a provider does; `mode` is ok, down, slow, or elsewhere (another's document)."""

    def __init__(self) -> None:
        self.url = ""
        self.mode = "ok"
        self.keys: dict[str, Key] = {
            "ec": ECKey.generate_key("P-256", {"kid": "ec"}),
            "rsa": RSAKey.generate_key(2048, {"kid": "rsa"}),
            "ed": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
            "p384": ECKey.generate_key("P-384", {"kid": "p384"}),
        }
        self.asked = 0
        self.extra: list[dict] = []
        self.active: dict[str, dict] = {}
        self.introspected: list[dict] = []
        self.exchanged: list[dict] = []
        self.id_token: str | None = None
        self.answer: str | None = None
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.discover),
                Route("/jwks", self.jwks),
                Route("/token", self.exchange, methods=["POST"]),
                Route("/introspect", self.introspect, methods=["POST"]),
            ]
        )

    async def __call__(self, scope, receive, send) -> None:
        await self.app(scope, receive, send)

    async def _fault(self) -> Response | None:
        if self.mode == "slow":
            await asyncio.sleep(30)
        return Response("sorry", 500) if self.mode == "down" else None

    async def discover(self, _: Request) -> Response:
        if (fault := await self._fault()) is not None:
            return fault
        issuer = "https://evil.example" if self.mode == "elsewhere" else self.url
        return JSONResponse(
            {
                "issuer": issuer,
                "jwks_uri": f"{self.url}/jwks",
                "authorization_endpoint": f"{self.url}/auth",
                "token_endpoint": f"{self.url}/token",
                "introspection_endpoint": f"{self.url}/introspect",
            }
        )

    async def jwks(self, _: Request) -> Response:
        self.asked += 1
        if (fault := await self._fault()) is not None:
            return fault
        await asyncio.sleep(0.05)  # So that several wait for one answer.
        keys = [key.as_dict(private=False) for key in self.keys.values()]
        return JSONResponse({"keys": keys + self.extra})

    async def exchange(self, request: Request) -> Response:
        """Give whatever ID token the test has laid down, for any code."""
        if (fault := await self._fault()) is not None:
            return fault
        self.exchanged.append(dict(await request.form()))
        if self.answer is not None:
            return Response(self.answer, media_type="application/json")
        given = {"access_token": "opaque", "token_type": "Bearer", "id_token": self.id_token}
        return JSONResponse({key: value for key, value in given.items() if value is not None})

    async def introspect(self, request: Request) -> Response:
        if (fault := await self._fault()) is not None:
            return fault
        form = dict(await request.form())
        form["authorization"] = request.headers.get("authorization", "")
        self.introspected.append(form)
        return JSONResponse(self.active.get(str(form.get("token")), {"active": False}))

    def public_pem(self, kid: str) -> bytes:
        key = self.keys[kid]
        assert isinstance(key, RSAKey)
        return key.as_pem(private=False)

    def claims(self, **changes) -> dict:
        now = int(time.time())
        made = {
            "iss": self.url,
            "sub": "ada",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 300,
            "client_id": "notebook",
            "jti": "1",
        }
        return {name: value for name, value in (made | changes).items() if value is not ...}

    def token(self, kid="ec", alg="ES256", header=None, key=None, raw=None, **changes) -> str:
        """Return a signed token; `...` leaves a claim or header out."""
        head = {"alg": alg, "typ": "at+jwt", "kid": kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not ...}
        payload = raw if raw is not None else json.dumps(self.claims(**changes))
        return sign(head, payload, key or self.keys[kid])


def sign(head: dict, payload: str | bytes, key: Key | bytes) -> str:
    """Sign whatever header and payload."""
    signing = f"{b64(json.dumps(head))}.{b64(payload)}"
    if isinstance(key, bytes):  # The library refuses to make these.
        signature = hmac.digest(key, signing.encode(), "sha256")
    else:
        registry = jws.JWSRegistry(algorithms=ALGORITHMS)
        signature = registry.get_alg(head["alg"]).sign(signing.encode(), key)
    return f"{signing}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def b64(value: str | bytes) -> str:
    raw = value.encode() if isinstance(value, str) else value
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def tiny_key() -> RSAKey:
    """A key that joserfc warns of, and so does not make by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RSAKey.generate_key(1024, {"kid": "tiny"})
