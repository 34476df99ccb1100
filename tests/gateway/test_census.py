"""What there is, as metrics: aliases, gates, keys, people, grants, applications."""

import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler

import anyio
import httpx
import psutil
import pytest

from gateway.cli.tables import in_transaction
from gateway.controlplane.backup import record_backup
from gateway.controlplane.census import secret_ages
from gateway.controlplane.certificates import expiries
from gateway.controlplane.changes import Tag
from gateway.controlplane.gate_metrics import wilson
from gateway.identity.secret import load_secret
from gateway.settings import Settings
from models.intervals import binomial_lower_bound, binomial_upper_bound
from tests.fakes.tls import tls_server
from tests.gateway.conftest import Running, make_settings, run_gateway
from tests.gateway.controlplane.workflow import Workflow
from tests.servers import free_port, wait_for


@pytest.fixture(scope="module")
def counted(request, tmp_path_factory):
    """A gateway that counts often; `tests/deploy` has two on PostgreSQL."""
    home = tmp_path_factory.mktemp("census")
    settings = make_settings(request, home, "sqlite")
    with run_gateway(settings, census_seconds=0.1) as running:
        counted = 'airlock_census_timestamp_seconds{of="controlplane"}'
        wait_for(lambda: metrics(running)(counted), 30)
        yield running


def metrics(running: Running):
    """Return what looks a series up, all of them from one scrape; None where there is none."""
    text = httpx.get(f"{running.url}/metrics").text
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    return lambda series: float(found[series]) if series in found else None


def test_aliases_say_what_they_serve_and_until_when(counted: Running):
    alias, digest = 'alias="smollm2:unlearned"', counted.engines["unlearned"].digest

    def served():
        """A scrape after a count after the engine was found well."""
        value = metrics(counted)
        return value if value(f"airlock_alias_engines{{{alias}}}") == 1 else None

    value = wait_for(served)
    assert value(f'airlock_alias_info{{{alias},checkpoint="{digest}"}}') == 1
    assert value(f"airlock_alias_open{{{alias}}}") == 1
    expires_at = counted.side_cars["unlearned"].release.expires_at.timestamp()
    assert value(f"airlock_release_expiry_timestamp_seconds{{{alias}}}") == expires_at


def test_the_gates_results_are_there_with_their_interval(counted: Running):
    value = metrics(counted)
    assert value('airlock_gate_passed{alias="smollm2:unlearned"}') == 1
    assert value('airlock_gate_passed{alias="smollm2:base"}') is None  # It claims nothing.
    rule = 'alias="smollm2:unlearned",rule="capitals.accuracy"'
    assert value(f"airlock_gate_rule_value{{{rule}}}") == pytest.approx(0.334, abs=0.001)
    assert value(f"airlock_gate_rule_limit{{{rule}}}") == 0.4
    given = 'alias="smollm2:unlearned",bound="{}",of="candidate",subset="capitals"'
    lower, estimate, upper = (
        value(f"airlock_gate_accuracy{{{given.format(bound)}}}")
        for bound in ("lower", "estimate", "upper")
    )
    assert estimate == pytest.approx(89 / 314)
    # Within a hundredth of the exact bounds, which the gate judges by.
    exact = binomial_lower_bound(89, 314, 0.975), binomial_upper_bound(89, 314, 0.975)
    assert (lower, upper) == pytest.approx(exact, abs=0.01)
    assert (lower, upper) == pytest.approx((0.2364, 0.3356), abs=0.0001)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (1, 314), (313, 314), (50, 100)])
def test_the_interval_holds_the_share_and_stays_within_0_and_1(k, n):
    share, lower, upper = wilson(k, n)
    tiny = 1e-12
    assert -tiny <= lower <= share + tiny
    assert share - tiny <= upper <= 1 + tiny


def test_keys_of_the_trust_store_and_secrets_have_ages(counted: Running):
    text = httpx.get(f"{counted.url}/metrics").text
    roles = re.findall(r'airlock_trust_key_expiry_timestamp_seconds\{.*role="(\w+)"\}', text)
    assert {"evaluator", "releaser", "engine"} <= set(roles)
    value = metrics(counted)
    for secret in ("gateway", "engine"):
        assert 0 <= value(f'airlock_secret_age_seconds{{secret="{secret}"}}') < 600
    assert 0 <= value('airlock_api_key_age_seconds{kind="admin"}') < 600


def test_an_application_is_counted_from_its_draft_to_its_grant(counted: Running):
    before = metrics(counted)
    workflow = Workflow(counted)
    workflow.verify()
    application = workflow.to_approval(workflow.apply("capitals"))
    approval = 'airlock_applications{state="approval"}'
    wait_for(lambda: metrics(counted)(approval) == 1, 30)
    assert metrics(counted)('airlock_application_waiting_seconds{state="approval"}') > 0
    for who in ("dan", "app"):
        assert workflow.judge(who, application, "approve").status_code == 200
    step = workflow.step("ada", application, "grants", terms=workflow.terms)
    assert step.status_code == 200
    decided = 'airlock_application_decision_seconds_count{decision="approved"}'
    wait_for(lambda: metrics(counted)(decided) == 1, 30)  # Not 2: one approval decides nothing.
    wait_for(lambda: metrics(counted)('airlock_applications{state="granted"}') == 1, 30)
    value = metrics(counted)
    assert value(approval) == 0
    assert 0 < value('airlock_application_decision_seconds_sum{decision="approved"}') < 60
    approvals = 'airlock_log_entries_total{tag="workflow:application:approve"}'
    assert before(approvals) == 0
    assert value(approvals) == 2


def test_grants_are_counted_by_domain_state_and_end(counted: Running):
    # A domain of its own: another test's grant may not have been counted yet.
    def ending() -> list[float]:
        value = metrics(counted)
        series = 'airlock_grants_ending{{days="{}",domain="rivers"}}'
        return [value(series.format(days)) for days in (1, 7, 30)]

    active = 'airlock_grants{domain="rivers",state="active"}'
    assert ending() == [None] * 3
    sue = {"name": "Sue", "organisation": "o", "tier": "researcher"}
    person = counted.admin("POST", "/people", json=sue).json()["id"]
    given = {"person_id": person, "domain": "rivers", "reason": "r", "days": 3}
    assert counted.admin("POST", "/grants", json=given).status_code == 201
    wait_for(lambda: metrics(counted)(active) == 1, 30)
    assert ending() == [0, 1, 1]


def test_a_closed_door_is_shown_until_it_is_lifted(counted: Running):
    answer = counted.admin("POST", "/closures", json={"domain": "capitals", "reason": "r"})
    assert answer.status_code == 201, answer.text
    wait_for(lambda: metrics(counted)('airlock_doors_closed{domain="capitals"}') == 1, 30)


def test_the_newest_backup_counts_and_the_newest_that_could_be_read(counted: Running):
    first, second = (datetime(2026, 5, 1, hour, tzinfo=UTC) for hour in (11, 12))

    async def record(session):
        # The older one is verified last.
        for tag, made_at in (
            (Tag.BACKUP_MADE, first),
            (Tag.BACKUP_MADE, second),
            (Tag.BACKUP_VERIFIED, first),
        ):
            await record_backup(session, tag, made_at, actor="test", now=datetime.now(UTC))

    assert metrics(counted)('airlock_backup_timestamp_seconds{of="made"}') is None
    in_transaction(counted.settings, record)

    def shown(of):
        return metrics(counted)(f'airlock_backup_timestamp_seconds{{of="{of}"}}')

    wait_for(lambda: shown("made") == second.timestamp(), 30)
    assert shown("verified") == first.timestamp()


def test_secrets_without_a_file_have_no_age(tmp_path):
    assert secret_ages(Settings(home=tmp_path)) == {}


def test_the_secret_that_the_embedded_set_up_makes_has_an_age(tmp_path):
    settings = Settings(home=tmp_path)
    load_secret(settings)
    assert 0 <= secret_ages(settings)["gateway"] < 60


def test_a_certificate_that_has_ended_says_so_and_silence_says_nothing(tmp_path):
    ended = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    with tls_server(tmp_path, ended) as port:
        assert anyio.run(expiries, named(port)) == {f"localhost:{port}": ended}


def test_nothing_stays_open_of_a_server_that_says_no_goodbye(tmp_path):
    """Or each count would leave a connection behind."""
    ended, asked = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1), threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def handle(self):
            asked.wait(30)

    async def left_open(port: int) -> int:
        assert await expiries(named(port)) == {f"localhost:{port}": ended}
        await anyio.sleep(0.1)
        ends = psutil.Process().net_connections("tcp")
        return sum(bool(end.raddr) and end.raddr.port == port for end in ends)

    with tls_server(tmp_path, ended, Silent) as port:
        try:
            assert anyio.run(left_open, port) == 0
        finally:
            asked.set()


def named(port: int) -> Settings:
    """Settings that name a TLS server, and one that is not there."""
    silent = {
        "url": f"https://127.0.0.1:{free_port()}",
        "digest": "sha256:" + "0" * 64,
        "api_key_file": "/dev/null",
    }
    return Settings(
        public_url=f"https://localhost:{port}", require_attestation=False, engines=[silent]
    )
