"""A provider whose word a module's gateway takes."""

import pytest

from tests.fakes.provider import FakeProvider
from tests.servers import serving


@pytest.fixture(scope="module")
def provider():
    fake = FakeProvider()
    with serving(fake, lifespan="off") as fake.url:
        yield fake
