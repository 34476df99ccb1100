"""The whole way, over HTTP on PostgreSQL with real identity providers: in, through, and out again.

A stranger logs in and gets the public door. They apply, four others judge, a grant opens the base;
what it answered is proven offline, and revoking the grant ends the answer that is on its way.
`tests/e2e/test_entire_way.py` takes the same steps before real engines.
"""

import pytest

from tests.gateway.conftest import run_gateway
from tests.gateway.identity.test_login import settings_with_provider
from tests.servers import wait_for
from tests.whole_way import ORGANISATIONS, arrive, cut, kept_out, prove


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("whole")
    with (
        settings_with_provider(request, home, "postgresql", 600, **ORGANISATIONS) as settings,
        run_gateway(settings, port=settings.port) as made,
    ):
        yield made


def test_from_a_strangers_login_to_a_cut_stream_with_proof(running, tmp_path):
    digests = {label: engine.digest for label, engine in running.engines.items()}
    who = arrive(running, digests)
    prove(running, who, tmp_path)
    engine = running.engines["base"]
    engine.delay_seconds, engine.tokens = 0.05, 1000
    cut(running, who)
    wait_for(lambda: engine.aborted == 1)
    kept_out(running, who, digests)
