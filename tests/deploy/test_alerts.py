"""Alerts fire when they should and else not; each has a section of the runbook, and the reverse."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.build import DASHBOARDS
from gateway.http_errors import HTTP_ERRORS
from tests.deploy.alert_cases import CASES, UP, Case, Series

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
ROUTES = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text()
KINDS = sorted({("Burn" in name, case.step) for name, case in CASES.items()})
"""Whether on a goal, and how often it is evaluated: promtool knows one interval at a time."""
PARTS = ("**Means.**", "**Costs.**", "**Look at.**", "**Do.**")


def needs(program: str) -> pytest.MarkDecorator:
    """Skip where there is no such program."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"there is no {program} here")


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def sections() -> dict[str, str]:
    """Return the runbook's sections by their heading."""
    parts = re.split(r"^### (\w+)\n", RUNBOOKS, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def situation(alert: str, series: Series, case: Case, *, fires: bool) -> dict[str, Any]:
    """One of promtool's tests: whether exactly one alert of that name fires then."""
    firing = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    expected = [{"labels": "{}", "value": 1}] if fires else []
    return {
        "name": f"{alert} {'fires' if fires else 'stays quiet'}",
        "interval": f"{case.step}m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{case.minutes}m", "exp_samples": expected}
        ],
    }


def promtool(
    file: Path, tests: list[dict[str, Any]], step: int = 1
) -> subprocess.CompletedProcess[str]:
    # Only alerts on goals rest on what is recorded, and to record takes most of the time.
    names = ("recording.yml", "alerts.yml") if "Burn" in str(tests) else ("alerts.yml",)
    given = {
        "rule_files": [str(RULES / name) for name in names],
        "evaluation_interval": f"{step}m",
        "tests": tests,
    }
    file.write_text(yaml.safe_dump(given))
    return subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )


def test_every_alert_has_a_case_and_a_section_of_the_runbook():
    assert CASES.keys() == alerts().keys()
    assert sections().keys() == alerts().keys()


@needs("promtool")
@pytest.mark.parametrize("kind", KINDS)
def test_alerts_fire_and_stay_quiet(tmp_path: Path, kind: tuple[bool, int]):
    tests = [
        situation(name, series, case, fires=fires)
        for name, case in CASES.items()
        if ("Burn" in name, case.step) == kind
        for series, fires in ((case.fires, True), (case.quiet, False))
        if series is not None
    ]
    done = promtool(tmp_path / "tests.yml", tests, kind[1])
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
def test_a_situation_that_is_not_as_it_says_is_noticed(tmp_path: Path):
    name, case = "AirlockTierViolation", CASES["AirlockTierViolation"]
    for series, fires in ((case.fires, False), (case.quiet or {}, True)):
        tests = [situation(name, series, case, fires=fires)]
        assert promtool(tmp_path / "tests.yml", tests).returncode != 0


@needs("promtool")
def test_an_install_that_was_never_backed_up_is_told_of(tmp_path: Path):
    counted = 'airlock_census_timestamp_seconds{of="controlplane"}'
    never = Case({counted: "0+60x90"}, {}, 80)
    tests = [
        situation("AirlockBackupOld", never.fires, never, fires=True),
        situation("AirlockBackupOld", {}, never, fires=False),
    ]
    done = promtool(tmp_path / "tests.yml", tests)
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
@pytest.mark.parametrize("told", [True, False])
def test_whoever_is_woken_has_a_link_to_the_page(tmp_path: Path, told: bool):
    commented = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    (shown,) = re.findall(r"# external_labels: (.+)", commented)
    labels = yaml.safe_load(shown) if told else {}
    assert not told or labels["runbooks"].startswith("https://")
    said = {
        **alerts()["AirlockNoGateway"]["annotations"],
        "runbook_url": labels.get("runbooks", "") + "docs/runbooks.md#airlocknogateway",
    }
    expected = {"exp_labels": {"severity": "page"}, "exp_annotations": said}
    given = {
        "rule_files": [str(RULES / "alerts.yml")],
        "tests": [
            {
                "input_series": [{"series": UP, "values": "0x10"}],
                "external_labels": labels,
                "alert_rule_test": [
                    {
                        "eval_time": "5m",
                        "alertname": "AirlockNoGateway",
                        "exp_alerts": [expected],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump(given))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
def test_prometheus_takes_the_configuration(tmp_path: Path):
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/rules", str(RULES)))
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rules found") == 2


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_it_is_and_where_help_is(name: str):
    alert = alerts()[name]
    assert alert["labels"]["severity"] in ("page", "ticket", "watchdog")
    said = alert["annotations"]
    assert said.keys() == {"summary", "description", "runbook_url"}
    page = f"docs/runbooks.md#{name.lower()}"
    assert said["runbook_url"] == "{{ $externalLabels.runbooks }}" + page
    section = sections()[name]
    places = [section.index(part) for part in PARTS]
    assert places == sorted(places)
    assert len(section) > 300


def test_what_the_runbook_names_is_there():
    for path in re.findall(r"\]\(([\w/.-]+\.md)(?:#[\w-]+)?\)", RUNBOOKS):
        assert (ROOT / "docs" / path).is_file(), path
    verbs = set(re.findall(r"`airlock ([a-z]+)", RUNBOOKS))
    assert len(verbs) > 3
    from gateway.cli import VERBS

    assert verbs <= set(VERBS)


def test_every_panel_that_the_runbook_sends_people_to_is_on_that_dashboard():
    titles = {each.name.capitalize(): {p.title for p in each.panels} for each in DASHBOARDS}
    rows = {row.title for each in DASHBOARDS for row in each.rows}
    sent = re.findall(
        r"\*([A-Z]\w+)\* → (?:the row )?(\*[^*]+\*(?:(?:, | and )\*[^*]+\*)*)", RUNBOOKS
    )
    assert len(sent) > 25
    for dashboard, panels in sent:
        named = set(re.findall(r"\*([^*]+)\*", panels))
        assert named <= titles[dashboard] | rows, (dashboard, named)


def test_what_the_runbook_quotes_is_said_by_the_code():
    sources = [path for plane in ("gateway", "models") for path in (ROOT / plane).rglob("*.py")]
    code = "".join(path.read_text() for path in sources)
    quoted = set(re.findall(r"`([a-z][a-z ]+ [a-z ]+)`", RUNBOOKS))
    quoted = {text for text in quoted if not text.startswith(("airlock ", "ulimit "))}
    assert len(quoted) >= 6
    assert {text for text in quoted if text not in code} == set()
    codes = set(re.findall(r"50[0-9] `(\w+)`|40[0-9] `(\w+)`", RUNBOOKS))
    assert {code for pair in codes for code in pair if code} <= known_codes()


def known_codes() -> set[str]:
    return {row.code for row in HTTP_ERRORS.values()}


@needs("amtool")
def test_alertmanager_takes_the_routes(tmp_path: Path):
    text = ROUTES.read_text()
    # Debian's is older than files that hold a webhook's address (0.26).
    version = subprocess.run(["amtool", "--version"], capture_output=True, text=True, check=False)
    if re.search(r"version 0\.2[0-5]\.", version.stdout + version.stderr):
        text = re.sub(r"url_file: \S+", "url: http://127.0.0.1:9/", text)
    (tmp_path / "alertmanager.yml").write_text(text)
    file = str(tmp_path / "alertmanager.yml")
    done = subprocess.run(
        ["amtool", "check-config", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for severity, receiver in (("page", "pager"), ("ticket", "tickets"), ("watchdog", "watchdog")):
        routed = subprocess.run(
            ["amtool", "config", "routes", "test", f"--config.file={file}", f"severity={severity}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert routed.stdout.strip() == receiver


def test_what_shows_that_alerts_are_delivered_is_repeated_each_minute_and_never_silenced():
    given = yaml.safe_load(ROUTES.read_text())
    (route,) = (each for each in given["route"]["routes"] if each["receiver"] == "watchdog")
    assert route["group_interval"] == route["repeat_interval"] == "1m"
    (watchdog,) = (name for name, rule in alerts().items() if CASES[name].quiet is None)
    assert alerts()[watchdog]["labels"] == {"severity": "watchdog"}
    labels = {"alertname": watchdog, "severity": "watchdog"}
    for rule in given["inhibit_rules"]:
        assert not all(holds(matcher, labels) for matcher in rule["target_matchers"]), rule


def holds(matcher: str, labels: dict[str, str]) -> bool:
    """Whether one of Alertmanager's matchers is true of an alert."""
    label, operator, value = matcher.split(" ", 2)
    pattern = value.strip('"') if "~" in operator else re.escape(value.strip('"'))
    return (re.fullmatch(pattern, labels.get(label, "")) is not None) != operator.startswith("!")


def test_alerts_that_silence_others_exist():
    for rule in yaml.safe_load(ROUTES.read_text())["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            name = re.fullmatch(r'alertname = "(\w+)"', matcher)
            assert name is None or name[1] in alerts(), matcher
