"""The deployment files, parsed once."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::-([^}]*)|:\+[^}]*)?\}")
PINNED = re.compile(r"^(postgres:\d+\.\d+|[a-z0-9/-]+:v?\d+\.\d+\.\d+)(-[a-z0-9.]+)*$")
"""An image of a whole version, of which PostgreSQL's have two parts."""


def interpolate(value: Any) -> Any:
    """Fill in `${NAME:-default}` as Compose does where `.env` sets nothing."""
    match value:
        case str():
            return VARIABLE.sub(lambda found: found[2] or "", value).replace("$$", "$")
        case list():
            return [interpolate(item) for item in value]
        case dict():
            return {key: interpolate(item) for key, item in value.items()}
    return value


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def compose(root: Path) -> dict[str, Any]:
    parsed = yaml.safe_load((root / "docker-compose.yml").read_text())
    resolved: dict[str, Any] = interpolate(parsed)
    return resolved


@pytest.fixture(scope="session")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found
