"""Prometheus and Grafana: what is scraped exists, and what is asked for is measured."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from gateway.metrics import Metrics

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
}
# What Prometheus itself adds to every series.
SCRAPE_LABELS = {"instance", "job"}
PANEL_UNITS = {"reqps", "percentunit", "short", "s", "bytes"}


def series() -> dict[str, set[str]]:
    """Return every series that the gateway exports, with its labels."""
    found = {}
    for metric in vars(Metrics("0")).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        (family,) = metric.describe()
        for suffix in SUFFIXES[family.type]:
            labels = {*metric._labelnames, *SCRAPE_LABELS}
            if suffix == "_bucket":
                labels.add("le")
            if suffix == "_info":
                labels.add("version")
            found[family.name + suffix] = labels
    return found


def panels() -> list[Any]:
    return [
        pytest.param(panel, id=f"{path.stem}-{panel['title']}")
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
    ]


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
        assert services[host]["ports"][0].endswith(f":{port}"), target
    assert "gateway:8000" in targets
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
    assert Path(home).name in {path.name for path in DASHBOARDS}


def test_the_gateways_series_are_known():
    known = series()
    assert known["airlock_requests_total"] >= {"alias", "tier", "outcome"}
    assert "le" in known["airlock_request_duration_seconds_bucket"]
    assert "airlock_build_info" in known


@pytest.mark.parametrize("panel", panels())
def test_panel_has_a_unit_a_description_and_queries_that_can_answer(panel: dict[str, Any]):
    assert panel["fieldConfig"]["defaults"]["unit"] in PANEL_UNITS
    assert len(panel["description"]) > 20
    assert panel["datasource"]["uid"] == datasource()["uid"]
    assert panel["targets"]
    known = series()
    for target in panel["targets"]:
        query = target["expr"]
        names = set(re.findall(r"\bairlock_\w+", query))
        assert names, query
        assert names <= known.keys(), f"unknown metric: {names - known.keys()}"
        allowed = set.intersection(*(known[name] for name in names))
        grouped = re.findall(r"\b(?:by|without) ?\(([^)]*)\)", query)
        matched = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query)
        shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        used = {label.strip() for labels in grouped for label in labels.split(",")}
        assert used | {*matched, *shown} <= allowed, query


@pytest.mark.parametrize("panel", panels())
def test_counters_are_shown_as_rates(panel: dict[str, Any]):
    for target in panel["targets"]:
        for name in re.findall(r"airlock_\w+_(?:total|bucket|sum|count)\b", target["expr"]):
            assert re.search(rf"(?:rate|increase)\({name}\b", target["expr"]), target["expr"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_overlap(path: Path):
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_metric_is_on_a_dashboard():
    text = "".join(path.read_text() for path in DASHBOARDS)
    families = {family.name for family in Metrics("0").registry.collect()}
    assert {name for name in families if not re.search(rf"\b{name}(_|\b)", text)} == set()
