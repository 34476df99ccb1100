"""The hub's real client, pointed at a stand-in; one server, since it takes time to stop one."""

from collections.abc import Awaitable, Callable, Iterator

import pytest
from huggingface_hub import constants

from tests.fakes.hub import FakeHub
from tests.servers import serving


class Stage:
    """An ASGI application that is another one in each test."""

    app: Callable[..., Awaitable[None]]
    address = ""

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    stage = Stage()
    with serving(stage, lifespan="off") as stage.address:
        yield stage


@pytest.fixture
def hub(stage, monkeypatch) -> FakeHub:
    stage.app = FakeHub()
    # What HF_ENDPOINT sets, which the client reads once, when it is imported.
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, stage.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", stage.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return stage.app
