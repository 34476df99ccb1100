"""What the settings are, and where each comes from; passwords in addresses are left out."""

import json
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit

from gateway.settings import Settings

ADDRESSES = ("database_url", "redis_url", "audit_witness_url", "public_url")


def has_password(url: str) -> bool:
    """Whether an address holds one; what cannot be taken apart may."""
    try:
        parts = urlsplit(url)
        return parts.password is not None or "password=" in parts.query
    except ValueError:
        return True


def without_password(url: str) -> str:
    """Return an address that may be shown."""
    if not has_password(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    host = parts.netloc.rpartition("@")[2]
    query = "***" if parts.query else ""
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}", query=query))


def value_lines(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each setting: its variable, its value as JSON, its source.

    Secrets are files, of which a setting holds the name.
    """
    given = settings.model_fields_set
    for field, value in settings.model_dump(mode="json").items():
        name = f"AIRLOCK_{field.upper()}"
        shown = without_password(value) if field in ADDRESSES and value is not None else value
        nested = any(each.startswith(f"{name}__") for each in environment)
        if name in environment or nested or field == "home":
            source = "environment"
        else:
            source = "file" if field in given else "default"
        yield f"{name}={json.dumps(shown, ensure_ascii=False)}  # {source}"
