"""Prometheus and Grafana: what is scraped exists, and what is asked for is measured."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from deploy.grafana import build, panels
from deploy.grafana.panels import Panel
from deploy.prometheus import operator
from gateway.http_errors import HTTP_ERRORS
from gateway.metrics import Metrics
from gateway.plain_metrics import PlainCounter, PlainHistogram
from tests.fakes.vllm_metrics import VllmMetrics

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FOLDER = DEPLOY / "grafana" / "dashboards"
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
}
# What Prometheus itself adds to every series.
SCRAPE_LABELS = {"instance", "job"}
PANEL_UNITS = {"reqps", "percentunit", "short", "s", "bytes"}
PANELS = [
    pytest.param(panel, id=f"{dashboard.name}-{panel.title}")
    for dashboard in build.DASHBOARDS
    for panel in dashboard.panels
]
Declared = MetricWrapperBase | PlainCounter | PlainHistogram
NAME = re.compile(r"\b(?:airlock_|vllm:|process_)\w+")


def declared() -> list[Declared]:
    """Return every metric that the gateway and its engines declare."""
    metrics, engine = Metrics("0"), VllmMetrics()
    owners = [metrics, metrics.health, metrics.inventory, metrics.background]
    found = [value for owner in owners for value in vars(owner).values()]
    found += [*metrics.inventory.gauges.values(), *engine.registry._collector_to_names]
    return [metric for metric in found if isinstance(metric, Declared)]


def labelnames(metric: Declared) -> tuple[str, ...]:
    if isinstance(metric, PlainCounter | PlainHistogram):
        return tuple(metric.labelnames)
    return tuple(metric._labelnames)


def series() -> dict[str, set[str]]:
    """Return every series that is there, with its labels."""
    samples = {one.name for family in Metrics("0").registry.collect() for one in family.samples}
    found = {name: SCRAPE_LABELS for name in samples if name.startswith("process_")}
    for metric in declared():
        (family,) = metric.describe()
        for suffix in SUFFIXES[family.type]:
            labels = {*labelnames(metric), *SCRAPE_LABELS}
            labels |= {"url", "checkpoint"} if family.name.startswith("vllm:") else set()
            labels |= {"le"} if suffix == "_bucket" else set()
            labels |= {"version"} if suffix == "_info" else set()
            found[family.name + suffix] = labels
    return found


def datasource() -> dict[str, Any]:
    text = (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    (found,) = yaml.safe_load(text)["datasources"]
    assert isinstance(found, dict)
    return found


def test_prometheus_scrapes_services_that_it_can_reach(services: dict[str, dict[str, Any]]):
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    targets = [
        t for job in jobs.values() for part in job["static_configs"] for t in part["targets"]
    ]
    for target in targets:
        host, port = target.split(":")
        if host == "localhost":
            continue
        assert set(services[host]["networks"]) & set(services["prometheus"]["networks"]), target
        assert port in str(services[host]["healthcheck"]), f"{target}: nothing listens there"
    assert {"gateway:8000", "gateway-2:8000"} <= set(targets)
    assert jobs["airlock"].get("metrics_path", "/metrics") == "/metrics"


def test_grafana_reads_from_the_prometheus_of_the_stack(services: dict[str, dict[str, Any]]):
    host = datasource()["url"].removeprefix("http://").split(":")[0]
    assert set(services[host]["networks"]) & set(services["grafana"]["networks"])


def test_grafana_finds_what_is_provisioned(services: dict[str, dict[str, Any]]):
    mounts = dict(
        volume.removesuffix(":ro").split(":")
        for volume in services["grafana"]["volumes"]
        if volume.startswith("./")
    )
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    text = (DEPLOY / "grafana/provisioning/dashboards/airlock.yml").read_text()
    (provider,) = yaml.safe_load(text)["providers"]
    assert provider["options"]["path"] == mounts["./deploy/grafana/dashboards"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).name in {path.name for path in FOLDER.glob("*.json")}


def test_the_files_are_what_the_code_makes():
    assert {path.stem for path in FOLDER.glob("*.json")} == {one.name for one in build.DASHBOARDS}
    for dashboard in build.DASHBOARDS:
        made = build.text(dashboard)
        assert (FOLDER / f"{dashboard.name}.json").read_text() == made, "run `make dashboards`"


def test_a_cluster_has_the_rules_that_compose_has():
    assert operator.FILE.read_text() == operator.text(), "run `make rules`"
    rule = yaml.safe_load(operator.FILE.read_text())
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    (mounted,) = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["rule_files"]
    read = sorted((DEPLOY / "prometheus/rules").glob(Path(mounted).name))
    assert [file.stem for file in read] == ["alerts", "recording"]
    groups = [each for file in read for each in yaml.safe_load(file.read_text())["groups"]]
    assert rule["spec"] == {"groups": groups}


def test_a_cluster_has_the_dashboards_that_compose_has():
    component = yaml.safe_load((DEPLOY / "grafana/kustomization.yaml").read_text())
    files = [file for each in component["configMapGenerator"] for file in each["files"]]
    assert {DEPLOY / "grafana" / file for file in files} == set(FOLDER.glob("*.json"))
    monitoring = DEPLOY / "kubernetes/monitoring"
    (given,) = yaml.safe_load((monitoring / "kustomization.yaml").read_text())["components"]
    assert (monitoring / given).resolve() == DEPLOY / "grafana"


def test_the_series_are_known():
    known = series()
    assert known["airlock_requests_total"] >= {"alias", "tier", "outcome"}
    assert "le" in known["airlock_request_duration_seconds_bucket"]
    assert {"airlock_build_info", "process_open_fds", "vllm:num_requests_running"} <= known.keys()


def test_a_fault_of_ours_is_every_error_of_500_and_more():
    ours = {error.__name__ for error, row in HTTP_ERRORS.items() if row.status >= 500}
    assert set(panels.FAULTS.split("|")) == ours
    recording = (DEPLOY / "prometheus/rules/recording.yml").read_text()
    assert set(re.findall(r'outcome=~"([^"]*)"', recording)) == {panels.FAULTS}


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_a_unit_a_description_and_queries_of_what_is_there(panel: Panel):
    assert panel.unit in PANEL_UNITS
    assert len(panel.description) > 20
    assert panel.description.endswith((".", "?"))
    assert panel.queries
    known = series()
    for query in panel.queries:
        names = set(NAME.findall(query.expr))
        assert names or "airlock:" in query.expr, query
        assert names <= known.keys(), f"unknown metric: {names - known.keys()}"
        allowed = set.union(set(), *(known[name] for name in names))
        grouped = re.findall(r"\b(?:by|without|on) ?\(([^)]*)\)", query.expr)
        matched = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query.expr)
        shown = re.findall(r"\{\{(\w+)\}\}", query.legend)
        used = {label.strip() for labels in grouped for label in labels.split(",")}
        assert used | {*matched, *shown} <= allowed, query


@pytest.mark.parametrize("panel", PANELS)
def test_counters_are_shown_as_rates(panel: Panel):
    for query in panel.queries:
        for name in re.findall(r"(?:airlock_|vllm:)\w+_(?:total|bucket|sum|count)\b", query.expr):
            assert re.search(rf"(?:rate|increase)\({name}\b", query.expr), query.expr


@pytest.mark.parametrize("panel", PANELS)
def test_what_all_replicas_count_alike_is_not_added_up(panel: Panel):
    alike = Metrics("0").inventory.gauges
    for query in panel.queries:
        for gauge in alike.values():
            (family,) = gauge.describe()
            if family.name.endswith("in_flight_requests"):
                continue  # That is each gateway's own.
            for before in re.findall(rf"(\w+)(?: by \([^)]*\))? ?\({family.name}\b", query.expr):
                assert before in ("max", "min"), query.expr


def boards() -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]


@pytest.mark.parametrize("board", boards(), ids=lambda board: board["uid"])
def test_panels_do_not_overlap_and_their_source_can_be_chosen(board: dict[str, Any]):
    source = next(one for one in board["templating"]["list"] if one["type"] == "datasource")
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        for part in (panel, *panel.get("targets", ())):
            assert panel["type"] == "row" or part["datasource"]["uid"] == f"${{{source['name']}}}"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_metric_is_on_a_dashboard():
    text = "".join(path.read_text() for path in FOLDER.glob("*.json"))
    families = {family.name for metric in declared() for family in metric.describe()}
    assert len(families) > 60
    assert {name for name in families if not re.search(rf"\b{name}(_|\b)", text)} == set()
