"""A provider's keys: asked for once, kept for a while, and given up; never a wrong 401."""

import asyncio
import ssl
import time
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from joserfc.jwk import ECKey

from gateway.identity import provider as module
from gateway.identity.provider import (
    COOL_DOWN_SECONDS,
    GIVE_UP_SECONDS,
    REFRESH_SECONDS,
    Known,
    Provider,
)
from gateway.identity_errors import InvalidTokenError, ProviderUnavailableError
from gateway.metrics import Metrics
from gateway.setting_types import IssuerSetting
from tests.fakes.provider import AUDIENCE, FakeProvider
from tests.gateway.conftest import make_settings, run_gateway
from tests.servers import serving


class Asked:
    """A provider that is asked over a fake wire, at a time that tests move."""

    def __init__(self, client: httpx2.AsyncClient, fake: FakeProvider) -> None:
        self.fake, self.now = fake, 1000.0
        setting = IssuerSetting(name="lab", issuer=fake.url, audience=AUDIENCE)
        self.metrics = Metrics("0")
        self.provider = Provider(setting, client, TLS, self.metrics, self.clock)

    def clock(self) -> float:
        self.now += 1e-6  # No two moments are the same.
        return self.now

    async def outcome(self, kid: str = "ec") -> str:
        try:
            return str((await self.provider.key(kid, "ES256")).kid)
        except (InvalidTokenError, ProviderUnavailableError) as error:
            return type(error).__name__

    async def settle(self) -> None:
        """Let what runs in the background end."""
        if self.provider._asking is not None:
            await self.provider._asking


@asynccontextmanager
async def asked():
    fake = FakeProvider()
    fake.url = "http://localhost:1"
    transport = httpx2.ASGITransport(app=fake)
    async with httpx2.AsyncClient(transport=transport) as client:
        made = Asked(client, fake)
        yield made
        await made.provider.close()


def scenario(test):
    """Run a coroutine test with a provider."""

    def run() -> None:
        async def main() -> None:
            async with asked() as made:
                await test(made)

        anyio.run(main)

    run.__name__ = test.__name__
    return run


TLS = ssl.create_default_context()
INVALID, UNAVAILABLE = "InvalidTokenError", "ProviderUnavailableError"


@scenario
async def test_however_many_wait_one_question_is_asked(made):
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(made.outcome()) for _ in range(50)]
    assert {task.result() for task in running} == {"ec"}
    assert made.fake.asked == 1
    async with asyncio.TaskGroup() as tasks:
        made.now += COOL_DOWN_SECONDS
        running = [tasks.create_task(made.outcome("new")) for _ in range(50)]
    assert made.fake.asked == 2


@scenario
async def test_one_that_leaves_does_not_take_the_answer_along(made):
    first = asyncio.create_task(made.outcome())
    second = asyncio.create_task(made.outcome())
    await asyncio.sleep(0.01)
    first.cancel()
    assert await second == "ec"
    assert made.fake.asked == 1


@scenario
async def test_unknown_ids_do_not_ask_again_and_again(made):
    assert await made.outcome("none") == INVALID
    assert await made.outcome("none") == INVALID
    for number in range(100):
        # Whether these are good cannot be told before the next question.
        assert await made.outcome(f"none{number}") == UNAVAILABLE
    assert made.fake.asked == 1
    made.now += COOL_DOWN_SECONDS
    assert await made.outcome("none") == INVALID
    assert made.fake.asked == 2


@scenario
async def test_a_rotated_key_is_found_and_never_a_wrong_401(made):
    assert await made.outcome() == "ec"
    made.fake.keys = {"new": ECKey.generate_key("P-256", {"kid": "new"})}
    assert await made.outcome("new") == UNAVAILABLE
    made.now += COOL_DOWN_SECONDS
    assert await made.outcome("new") == "new"
    assert await made.outcome("ec") == INVALID


@scenario
async def test_a_removed_key_ends_with_the_next_refresh_that_nobody_waits_for(made):
    assert await made.outcome() == "ec"
    made.fake.keys = {"new": ECKey.generate_key("P-256", {"kid": "new"})}
    made.now += REFRESH_SECONDS - 1
    assert await made.outcome() == "ec"
    assert made.fake.asked == 1
    made.now += 1
    assert await made.outcome() == "ec"
    await made.settle()
    assert made.fake.asked == 2
    assert await made.outcome() == INVALID


@scenario
async def test_a_provider_that_is_down_is_trusted_for_an_hour_and_no_longer(made):
    assert await made.outcome() == "ec"
    made.fake.mode = "down"
    for _ in range(5):
        made.now += (GIVE_UP_SECONDS - 1) / 5
        assert await made.outcome() == "ec"
        await made.settle()
    made.now += 1
    assert await made.outcome() == UNAVAILABLE
    made.now += COOL_DOWN_SECONDS
    assert await made.outcome() == UNAVAILABLE
    asked_before = made.fake.asked
    assert await made.outcome() == UNAVAILABLE
    assert made.fake.asked == asked_before
    made.fake.mode = "ok"
    made.now += COOL_DOWN_SECONDS
    assert await made.outcome() == "ec"
    assert 'issuer="lab",question="keys"' in made.metrics.render().decode()


@scenario
async def test_while_it_is_down_an_unknown_id_is_not_called_wrong(made):
    assert await made.outcome() == "ec"
    made.fake.mode = "down"
    made.now += COOL_DOWN_SECONDS
    assert await made.outcome("new") == UNAVAILABLE
    assert await made.outcome() == "ec"


@pytest.mark.parametrize("mode", ["down", "elsewhere", "slow"])
def test_without_an_answer_nobody_is_let_in(mode, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.1)

    @scenario
    async def test(made):
        made.fake.mode = mode
        assert await made.outcome() == UNAVAILABLE

    test()


@pytest.mark.parametrize(
    "document", [{"keys": "x"}, {}, {"keys": [{}] * 51}, {"keys": [], "more": "x" * 300_000}]
)
def test_an_odd_key_set_is_no_answer(document):
    @scenario
    async def test(made):
        async def odd(_):
            from starlette.responses import JSONResponse

            return JSONResponse(document)

        made.fake.app.router.routes[1].app = odd_app(odd)
        assert await made.outcome() == UNAVAILABLE

    test()


NUMBER = "A" * 43  # A coordinate of P-256, of a point that is not on it.
ODD_KEYS = {
    "an unknown curve": {"kty": "EC", "crv": "BP-256", "x": NUMBER, "y": NUMBER},
    "another type's curve": {"kty": "OKP", "crv": "P-521", "x": NUMBER},
    "a curve for agreements": {"kty": "OKP", "crv": "X25519", "x": NUMBER},
    "no curve": {"kty": "EC", "x": NUMBER, "y": NUMBER},
    "a curve that is a list": {"kty": "EC", "crv": ["P-256"], "x": NUMBER, "y": NUMBER},
    "a type that is nested": {"kty": {"EC": [["P-256"]]}, "crv": "P-256"},
    "an unknown type": {"kty": "AKP", "alg": "ML-DSA-44", "pub": NUMBER},
    "a point off its curve": {"kty": "EC", "crv": "P-256", "x": NUMBER, "y": NUMBER},
    "half a point": {"kty": "EC", "crv": "P-256", "x": NUMBER},
    "an empty point": {"kty": "OKP", "crv": "Ed25519", "x": ""},
    "numbers for texts": {"kty": "RSA", "n": 7, "e": 65537},
    "a text beyond ASCII": {"kty": "RSA", "n": "é" * 400, "e": "AQAB"},
    "a key that is huge": {"kty": "RSA", "n": "_" * 100_000, "e": "AQAB"},
    "an exponent that is huge": {"kty": "RSA", "n": "_" * 400, "e": "_" * 100_000},
    "an id that is an object": {"kty": "EC", "kid": {"ec": "ec"}},
    "an id that is long": {"kty": "EC", "kid": "ec" * 1000},
}


@pytest.mark.parametrize("name", list(ODD_KEYS))
def test_a_key_that_nobody_knows_ends_no_other_one(name):
    @scenario
    async def test(made):
        made.fake.extra = [{"kid": "odd", "use": "sig"} | ODD_KEYS[name]]
        assert await made.outcome() == "ec"

    test()


@pytest.mark.parametrize(
    "address",
    [None, 7, "", "/introspect", "http://sso.example/x", "https://sso.example:0x/", "https://[",
     "https://sso.example/\n", "https://1.2.3.999/", "https://sso.example/\ud800",
     "https://sso.example/" + "x" * 70_000],
    ids=range(11),
)  # fmt: skip
def test_an_endpoint_that_is_no_address_is_none(address):
    known = Known({"issuer": "https://sso.example", "endpoint": address}, {}, 0.0)
    with pytest.raises(ProviderUnavailableError):
        known.endpoint("endpoint")


def test_an_endpoint_is_written_as_headers_take_it():
    known = Known({"issuer": "https://x.example", "a": "https://x.example/\u4e2d?b"}, {}, 0.0)
    assert known.endpoint("a") == "https://x.example/%E4%B8%AD?b"


def odd_app(handler):
    from starlette.routing import request_response

    return request_response(handler)


@pytest.mark.timed
def test_a_provider_that_is_down_is_503_over_http_and_keys_of_ours_go_on(request, tmp_path):
    fake = FakeProvider()
    with serving(fake, lifespan="off") as fake.url:
        fake.mode = "down"
        issuers = (IssuerSetting(name="lab", issuer=fake.url, audience=AUDIENCE),)
        settings = make_settings(request, tmp_path, "sqlite")
        with run_gateway(settings, issuers=issuers) as running:
            refused = running.chat(fake.token())
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "provider_unavailable"
            assert refused.headers["retry-after"] == "2"
            assert running.chat("public").status_code == 200
            line = 'airlock_identity_provider_faults_total{issuer="lab",question="keys"}'
            assert running.metric(line) == 1
            assert not any(engine.bodies[1:] for engine in running.engines.values())
            # A token that could not count in any case does not have anybody asked.
            began = time.monotonic()
            assert running.chat(fake.token(aud="x")).status_code == 401
            assert time.monotonic() - began < 1
