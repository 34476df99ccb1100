"""Draws each dashboard's panels from a real Prometheus, for docs/monitoring.md.

Run: `python -m tests.gateway.monitoring.pictures` (a minute and a half; needs Prometheus).
"""

import io
import math
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

from deploy.grafana.build import DASHBOARDS
from deploy.grafana.panels import COLUMNS, Dashboard, Panel
from tests.gateway.conftest import make_settings, run_postgres
from tests.gateway.monitoring.prometheus import Prometheus, run_prometheus
from tests.gateway.monitoring.stage import chosen, let_everything_happen, set_up, under_load

DOCS = Path(__file__).resolve().parents[3] / "docs"
SECONDS = 75
CELL = (0.62, 0.31)
"""Inches of a column and of a unit of height of Grafana's grid."""
UNITS = {"reqps": "1/s", "percentunit": "%", "s": "s", "bytes": "MB", "short": ""}
DAY = 86_400
LONGEST_LABEL, MOST_LABELS = 34, 6


def number(value: float, unit: str) -> str:
    """A value as a panel of one number shows it."""
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "s" and value >= DAY:
        return f"{value / DAY:.1f} d"
    return f"{value:.3g} {UNITS[unit]}".strip()


def labelled(legend: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        short = value[:15] if value.startswith("sha256:") else value
        legend = legend.replace("{{" + name + "}}", short)
    return legend[:LONGEST_LABEL]


def scaled(value: str, unit: str) -> float:
    factor = {"percentunit": 100, "bytes": 1e-6}.get(unit, 1)
    return float(value) * factor


def curves(prometheus: Prometheus, panel: Panel, ends_at: float) -> list[tuple[str, Any]]:
    """Each series of a panel: its legend, and its moments and values."""
    found = []
    for query in panel.queries:
        given = {"start": ends_at - SECONDS, "end": ends_at, "step": "1"}
        data = prometheus.ask("query_range", query=chosen(query.expr), **given)
        for one in data["result"]:
            points = [(float(at) - ends_at, scaled(v, panel.unit)) for at, v in one["values"]]
            found.append((labelled(query.legend, one["metric"]), points))
    return found


def draw(axes, prometheus: Prometheus, panel: Panel, ends_at: float) -> None:
    """Draw one panel."""
    axes.set_title(panel.title, fontsize=8, loc="left")
    series = curves(prometheus, panel, ends_at)
    highest = max((v for _, points in series for _, v in points if math.isfinite(v)), default=0)
    if panel.kind in ("stat", "table"):
        axes.axis("off")
        lines = [
            number(points[-1][1] / (100 if panel.unit == "percentunit" else 1), panel.unit)
            if panel.kind == "stat"
            else f"{label}:  {points[-1][1]:.0f} engine"
            for label, points in series
        ]
        size = 16 if panel.kind == "stat" else 8
        axes.text(0.5, 0.5, "\n".join(lines), fontsize=size, ha="center", va="center")
        return
    axes.tick_params(labelsize=6)
    is_days = panel.unit == "s" and highest > 2 * DAY
    by = DAY if is_days else 1
    axes.set_ylabel("d" if is_days else UNITS[panel.unit], fontsize=6)
    if panel.kind == "heatmap":
        heatmap(axes, series)
        return
    for index, (label, points) in enumerate(series):
        finite = [(at, value / by) for at, value in points if math.isfinite(value)]
        shown = label if index < MOST_LABELS else None
        axes.plot(*zip(*finite, strict=True), linewidth=1, label=shown) if finite else None
    axes.set_ylim(0, highest / by * 1.4 or 1)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=5, loc="upper left", framealpha=0.6)


def heatmap(axes, series: list[tuple[str, Any]]) -> None:
    """Draw the buckets of a histogram, each less the one below it."""
    buckets = sorted((float(le.replace("+Inf", "inf")), dict(points)) for le, points in series)
    moments = sorted({at for _, points in buckets for at in points})
    rows, below = [], dict.fromkeys(moments, 0.0)
    for _, points in buckets:
        rows.append([max(0.0, points.get(at, 0.0) - below[at]) for at in moments])
        below = {at: points.get(at, 0.0) for at in moments}
    axes.imshow(rows, aspect="auto", origin="lower", cmap="Oranges")
    axes.set_yticks(range(len(buckets)), [f"{le:g}" for le, _ in buckets])
    axes.set_xticks([])


def picture(prometheus: Prometheus, dashboard: Dashboard, ends_at: float) -> bytes:
    """Return one dashboard as PNG, its panels where Grafana has them."""
    places, y = [], 0
    for row in dashboard.rows:
        x, tallest = 0, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            places.append((panel, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    figure = plt.figure(figsize=(COLUMNS * CELL[0], y * CELL[1]), dpi=72)
    for panel, x, top in places:
        left, bottom = (x + 0.9) / COLUMNS, 1 - (top + panel.height - 0.9) / y
        width, height = (panel.width - 1.3) / COLUMNS, (panel.height - 2.0) / y
        draw(figure.add_axes((left, bottom, width, height)), prometheus, panel, ends_at)
    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    plt.close(figure)
    # A palette is enough for lines on white, and a third of the bytes.
    small = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


class Fixtures(NamedTuple):
    """What `make_settings` asks pytest for."""

    address: str

    def getfixturevalue(self, _: str) -> str:
        return self.address


def main() -> None:
    """Watch two gateways for a while, and draw what there was."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with (
            run_postgres(home / "pg", home) as address,
            set_up(make_settings(Fixtures(address), home, "postgresql")) as stage,
            run_prometheus(home / "prometheus", stage.targets) as prometheus,
            under_load(stage),
        ):
            time.sleep(SECONDS / 3)
            let_everything_happen(stage)
            time.sleep(SECONDS / 2)
            ends_at = time.time()
            for dashboard in DASHBOARDS:
                drawn = picture(prometheus, dashboard, ends_at)
                (DOCS / f"dashboard-{dashboard.name}.png").write_bytes(drawn)
                print(f"{dashboard.name}: {len(drawn) // 1024} KB")


if __name__ == "__main__":
    main()
