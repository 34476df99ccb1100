"""Two gateways that are watched: every query answers, and no log says what it must not."""

import json
import math
import re
import time
from collections.abc import Iterator

import httpx
import pytest
import yaml

from deploy.grafana.build import DASHBOARDS
from tests.gateway.conftest import make_settings
from tests.gateway.monitoring.prometheus import DEPLOY, PROGRAM, Prometheus, run_prometheus
from tests.gateway.monitoring.stage import (
    Stage,
    chosen,
    let_everything_happen,
    set_up,
    under_load,
)
from tests.gateway.monitoring.whispers import SAID, secrets, whisper
from tests.servers import wait_for

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Prometheus here")
NAME = re.compile(r"\b(?:airlock|vllm|process)[_:]\w[\w:]*|\bup\b")


@pytest.fixture(scope="module")
def scene(request, tmp_path_factory) -> Iterator[tuple[Stage, Prometheus]]:
    """Two gateways on PostgreSQL and a Prometheus that has seen everything happen."""
    home = tmp_path_factory.mktemp("monitored")
    with (
        set_up(make_settings(request, home, "postgresql")) as stage,
        run_prometheus(home / "prometheus", stage.targets) as prometheus,
        under_load(stage),
    ):
        wait_for(lambda: prometheus.value("sum(up)") == 4, 30)
        let_everything_happen(stage)
        whisper(stage)
        seen = 'sum(increase(airlock_application_decision_seconds_count{decision="approved"}[1m]))'
        wait_for(lambda: prometheus.value(seen) > 0, 30)
        wait_for(lambda: prometheus.value("count(airlock:faults:ratio_rate5m)") == 1, 30)
        wait_for(lambda: prometheus.value("sum(airlock_batches_ended_total)") >= 1, 30)
        time.sleep(2)  # A rate needs two scrapes.
        yield stage, prometheus


def rules(file: str) -> list[dict]:
    groups = yaml.safe_load((DEPLOY / "rules" / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


QUERIES = [
    pytest.param(query.expr, id=f"{dashboard.name}-{panel.title}-{query.legend}")
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
    for query in panel.queries
]


@pytest.mark.parametrize("expr", QUERIES)
def test_a_panels_query_answers(scene, expr):
    _, prometheus = scene
    found = prometheus.query(chosen(expr))
    assert found, "it answers nothing"
    assert any(math.isfinite(float(one["value"][1])) for one in found), found


def test_every_metric_that_is_asked_for_exists(scene):
    _, prometheus = scene
    known = set(prometheus.ask("label/__name__/values"))
    asked = [query.values[0] for query in QUERIES]
    asked += [rule["expr"] for file in ("recording.yml", "alerts.yml") for rule in rules(file)]
    names = {name for expr in asked for name in NAME.findall(re.sub(r'"[^"]*"', "", expr))}
    assert len(names) > 60
    assert names - known == set()


@pytest.mark.parametrize("rule", rules("recording.yml"), ids=lambda rule: rule["record"])
def test_a_recording_rule_has_recorded(scene, rule):
    _, prometheus = scene
    (found,) = prometheus.query(rule["record"])
    assert 0 <= float(found["value"][1]) <= 1


def test_rules_are_evaluated_without_a_fault_and_alerts_are_loaded(scene):
    _, prometheus = scene
    loaded = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["lastError"] for rule in loaded if rule.get("lastError")} == set()
    assert {rule["health"] for rule in loaded} == {"ok"}
    names = {rule["name"] for rule in loaded if rule["type"] == "alerting"}
    assert names == {rule["alert"] for rule in rules("alerts.yml")}


def test_two_gateways_add_up_to_what_was_asked(scene):
    stage, prometheus = scene
    stage.is_over.set()
    wait_for(lambda: prometheus.value("sum(airlock_in_flight_requests)") == 0, 30)
    time.sleep(1.5)  # Until both have been scraped once more.
    each = prometheus.query("sum by (instance) (airlock_requests_total)")
    assert {one["metric"]["instance"]: float(one["value"][1]) for one in each} == {
        target: counted(f"http://{target}") for target in stage.targets
    }
    assert prometheus.value("sum(airlock_requests_total)") >= stage.answered > 100


def counted(url: str) -> float:
    """The requests that a gateway says it has answered."""
    rows = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(row.split()[-1]) for row in rows if row.startswith("airlock_requests_total"))


def test_replicas_agree_on_what_there_is(scene):
    _, prometheus = scene
    for metric in ("airlock_grants", "airlock_alias_info", "airlock_gate_accuracy"):
        assert prometheus.query(metric)
        assert prometheus.query(f"max without (instance) ({metric}) != {metric}") == []


def test_prometheus_has_as_many_series_as_a_gateway_should_make(scene):
    _, prometheus = scene
    for one in prometheus.query('scrape_samples_scraped{job="airlock"}'):
        assert float(one["value"][1]) < 2000


def test_the_log_holds_nothing_that_was_said_and_no_secret(scene):
    stage, _ = scene
    assert SAID in str(stage.running.engines["base"].bodies)
    text = (stage.running.settings.home / "second.log").read_text()
    assert [secret for secret in secrets(stage) if secret in text] == []


ENDED = ("a request has ended", "a request was not answered")


def test_a_fault_is_in_the_log_at_its_usual_level(scene):
    stage, _ = scene
    text = (stage.running.settings.home / "second.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    faults = [line for line in lines if line["message"] == "a request was not answered"]
    assert {"EngineFailedError", "ProviderUnavailableError"} <= {one["outcome"] for one in faults}
    assert {line["level"] for line in faults} == {"info"}
    usual = [line for line in lines if line["message"] == "a request has ended"]
    assert {line["level"] for line in usual} == {"debug"}
    assert not {"EngineFailedError", "InternalError"} & {line["outcome"] for line in usual}


def test_the_log_is_json_and_every_line_on_a_request_has_its_id(scene):
    stage, _ = scene
    text = (stage.running.settings.home / "second.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    ended = [line for line in lines if line["message"] in ENDED]
    assert len(ended) > 50
    assert {"alias", "tier", "outcome", "milliseconds", "path"} <= ended[0].keys()
    assert len({line["request_id"] for line in ended}) == len(ended)
    assert all(re.fullmatch("req_[0-9a-f]{32}", line["request_id"]) for line in ended)
    assert {"public", "researcher", "other"} <= {line["tier"] for line in ended}
