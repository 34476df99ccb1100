"""The whole way before real engines: the steps of `tests/whole_way.py`, down to real vLLM.

A second gateway, on PostgreSQL and with real identity providers, before the demo's own engines and
on its store: what a receipt chains here is real weights, their signed report and its data sets.
"""

import time
from datetime import UTC, datetime

import pytest

from gateway.setting_types import EngineSetting
from models.engine import read_facts
from models.release import current_releases
from models.store import CheckpointStore
from models.trust import read_trust
from tests.e2e.conftest import Demo
from tests.gateway.conftest import open_gateway, run_postgres
from tests.gateway.identity.test_login import settings_with_provider
from tests.servers import wait_for
from tests.whole_way import ORGANISATIONS, arrive, cut, kept_out, prove

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(300)]


@pytest.fixture
def postgres(tmp_path_factory):
    with run_postgres(tmp_path_factory.mktemp("pg"), tmp_path_factory.mktemp("run")) as address:
        yield address


@pytest.fixture
def running(request, demo: Demo, tmp_path):
    engines = tuple(
        EngineSetting(**facts.model_dump(include={"url", "digest", "attest_url", "api_key_file"}))
        for facts in (read_facts(demo.home, f"smollm2:{label}") for label in ("base", "unlearned"))
    )
    # The demo's store and trust; what a gateway writes goes elsewhere.
    change = {"home": demo.home, "files_folder": tmp_path / "files", "engines": engines}
    way = settings_with_provider(request, tmp_path, "postgresql", 600, **ORGANISATIONS)
    with (
        way as settings,
        open_gateway(settings.model_copy(update=change), port=settings.port) as made,
    ):
        yield made


def test_from_a_strangers_login_to_a_cut_stream_of_a_real_engine(demo: Demo, running, tmp_path):
    digests = demo.digests()
    who = arrive(running, digests)
    facts = prove(running, who, tmp_path)
    for fact in proven_by_the_demo(demo):
        assert fact in facts
    made = demo.generated("base")
    assert cut(running, who) < 1.0
    assert wait_for(lambda: demo.generated("base") > made)
    time.sleep(0.5)  # For the engine's own step and its count.
    stopped_at = demo.generated("base")
    time.sleep(1)
    assert demo.generated("base") == stopped_at < made + 1400, "it was done before: nothing shown"
    kept_out(running, who, digests)


def proven_by_the_demo(demo: Demo) -> list[str]:
    """What a receipt of the demo's base has to end with: release, report and data sets."""
    store = CheckpointStore(demo.home / "store")
    found = current_releases(store, read_trust(demo.home), datetime.now(UTC), {}).valid
    released = {release.label: release for release in found}
    verdict = released["unlearned"].verdict
    assert verdict is not None
    report = store.get_report(verdict.report)
    assert report.subsets
    return [
        f"checkpoint {demo.digests()['base']}, release {released['base'].document_digest}",
        f"report {report.document_digest} measured it as base, as the control",
        *(f"data set {each.dataset.name} {each.dataset.digest}" for each in report.subsets),
    ]
