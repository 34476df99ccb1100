"""The panels that the dashboards are made of, and the JSON that Grafana reads.

A panel is a question in words, a unit and its queries; where it stands is computed. What the
dashboards show is in `service`, `access`, `safety` and `engines`; `build` writes the files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["timeseries", "stat", "heatmap", "table", "bargauge"]

SOURCE = {"type": "prometheus", "uid": "${source}"}
SCHEMA_VERSION = 41
COLUMNS = 24
RATE = "[$__rate_interval]"
FAULTS = (
    "EngineUnavailableError|EngineFailedError|EngineTimeoutError|NotReadyError|InternalError|"
    "ConfigurationError|OverloadedError|AuditUnavailableError|StorageUnavailableError|"
    "ReleaseWithdrawnError|ProviderUnavailableError|AuditFileError|"
    "ContentsUnavailableError"
)
"""Outcomes that are the operator's fault: every error that is answered with a status of 500 and
more. The recording rules count by the same list."""


@dataclass(frozen=True)
class Query:
    """One question to Prometheus."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    alarm_from: float | None = None
    """Red from this value on."""
    is_stacked: bool = False
    top: float | None = None
    """The axis's end, where there is a natural one."""


@dataclass(frozen=True)
class Row:
    """Panels under a heading; each line of them is filled from the left."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label."""

    name: str
    label: str
    query: str


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; its file is named for its `name`."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    since: str = "now-6h"
    panels: tuple[Panel, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        """List the panels of all rows."""
        object.__setattr__(self, "panels", tuple(p for row in self.rows for p in row.panels))


def quantiles(metric: str, by: str, legend: str, where: str = "") -> tuple[Query, ...]:
    """Return the median, the 95th and the 99th percentile of a histogram."""
    grouped = f"le, {by}" if by else "le"
    return tuple(
        Query(
            f"histogram_quantile({share}, sum by ({grouped}) (rate({metric}_bucket{where}{RATE})))",
            f"{legend} {name}".strip(),
        )
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )


def render(dashboard: Dashboard) -> Json:
    """Return a dashboard as Grafana's JSON."""
    return {
        "uid": f"airlock-{dashboard.name}",
        "title": f"Airlock: {dashboard.title}",
        "description": dashboard.description,
        "tags": ["airlock"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": dashboard.since, "to": "now"},
        "templating": {"list": [_source(), *map(_variable, dashboard.variables)]},
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "tags": ["airlock"],
                "title": "Airlock",
                "asDropdown": True,
                "includeVars": False,
                "keepTime": True,
            }
        ],
        "panels": list(_placed(dashboard.rows)),
    }


def _source() -> Json:
    """Return the choice of the data source; the first of its kind by default."""
    return {
        "name": "source",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "includeAll": False,
        "multi": False,
        "current": {},
        "options": [],
    }


def _variable(variable: Variable) -> Json:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": "v"},
        "definition": variable.query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "sort": 1,
        "options": [],
    }


def _placed(rows: Iterable[Row]) -> Iterable[Json]:
    """Yield rows and panels, each at its place."""
    number, y = 1, 0
    for row in rows:
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": place,
            "panels": [],
        }
        number, y = number + 1, y + 1
        x, tallest = 0, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            place = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            yield _panel(panel, number, place)
            number, x, tallest = number + 1, x + panel.width, max(tallest, panel.height)
        y += tallest


def _panel(panel: Panel, number: int, place: Json) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if panel.alarm_from is not None:
        steps.append({"color": "red", "value": panel.alarm_from})
    defaults: Json = {
        "unit": panel.unit,
        "min": 0 if panel.kind != "table" else None,
        "max": panel.top,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "custom": _custom(panel),
    }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _without_nothing(defaults), "overrides": []},
        "options": OPTIONS[panel.kind],
        "targets": list(_targets(panel.kind, panel.queries)),
        **({"transformations": [TABLE]} if panel.kind == "table" else {}),
    }


def _custom(panel: Panel) -> Json:
    if panel.kind != "timeseries":
        return {}
    stacking = {"stacking": {"mode": "normal"}} if panel.is_stacked else {}
    return {"fillOpacity": 10, "showPoints": "never", **stacking}


def _targets(kind: Kind, queries: Sequence[Query]) -> Iterable[Json]:
    now = {"instant": True, "range": False} if kind in ("table", "bargauge") else {"range": True}
    form = {"table": "table", "heatmap": "heatmap"}.get(kind, "time_series")
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        yield {
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend,
            "format": form,
            "refId": letter,
            **now,
        }


def _without_nothing(given: Json) -> Json:
    return {name: value for name, value in given.items() if value not in (None, {})}


TABLE = {"id": "organize", "options": {"excludeByName": {"Time": True, "__name__": True}}}
LAST = {"calcs": ["lastNotNull"]}
OPTIONS: dict[Kind, Json] = {
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["mean", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"colorMode": "background", "graphMode": "area", "reduceOptions": LAST},
    "bargauge": {"orientation": "horizontal", "displayMode": "basic", "reduceOptions": LAST},
    "table": {"showHeader": True},
    "heatmap": {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "yAxis": {"unit": "s"},
        "tooltip": {"mode": "single", "yHistogram": True},
        "legend": {"show": True},
        "cellGap": 1,
    },
}
