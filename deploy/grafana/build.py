"""Writes the dashboards' files: `make dashboards`. A test holds them to what this makes."""

import json
from pathlib import Path

from deploy.grafana.access import ACCESS
from deploy.grafana.engines import ENGINES
from deploy.grafana.panels import Dashboard, render
from deploy.grafana.safety import SAFETY
from deploy.grafana.service import SERVICE

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS = (SERVICE, ACCESS, SAFETY, ENGINES)


def text(dashboard: Dashboard) -> str:
    """Return a dashboard's file."""
    return json.dumps(render(dashboard), indent=2) + "\n"


def main() -> None:
    """Write every file."""
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(text(dashboard))


if __name__ == "__main__":
    main()
