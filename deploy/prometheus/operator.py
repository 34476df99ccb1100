"""Writes the rules as the Prometheus operator reads them: `make rules`. A test holds it to them."""

from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parent / "rules"
FILE = Path(__file__).parents[1] / "kubernetes" / "monitoring" / "rules.yaml"
HEAD = "# Made by `make rules` from deploy/prometheus/rules, which says why each is as it is.\n"


def text() -> str:
    """Return the PrometheusRule that holds every group of the rules' files."""
    rule: dict[str, Any] = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "airlock", "namespace": "airlock"},
        "spec": {
            "groups": [
                group
                for file in sorted(RULES.glob("*.yml"))
                for group in yaml.safe_load(file.read_text())["groups"]
            ]
        },
    }
    return HEAD + yaml.safe_dump(rule, sort_keys=False, width=100)


if __name__ == "__main__":
    FILE.write_text(text())
