"""What the settings are, and where each comes from; secrets in addresses are masked."""

import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from gateway.settings import Settings

MASK = "***"
UNCLEAR = re.compile(r":.*@", re.DOTALL)
"""User and password, perhaps, of what is not quite an address."""


def has_password(url: str) -> bool:
    """Whether an address holds one; what cannot be taken apart may."""
    try:
        parts = urlsplit(url)
        return parts.password is not None or "password=" in parts.query
    except ValueError:
        return True


def without_secrets(text: str) -> str:
    """Return a text that may be shown: of an address neither user nor query, which hold tokens.

    Programs differ in where a password with signs of its own ends, so it ends at the last `@` here,
    and where that may be one of the query's nothing but the scheme is shown.
    """
    scheme, found, rest = text.partition("://")
    if not found:
        return MASK if UNCLEAR.search(text) else text
    user, at, place = rest.rpartition("@")
    if re.search("[?#]", user):
        return f"{scheme}://{MASK}"
    address, *asked = re.split("(?<=[?#])", place, maxsplit=1)
    return f"{scheme}://{MASK + at if at else ''}{address}{MASK if any(asked) else ''}"


def masked(value: object) -> object:
    """Return a value of JSON that may be shown, whatever lies in whatever."""
    match value:
        case str():
            return without_secrets(value)
        case list():
            return [masked(each) for each in value]
        case dict():
            return {masked(key): masked(each) for key, each in value.items()}
    return value


def value_lines(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each setting: its variable, its value as JSON, its source.

    Secrets are files, of which a setting holds the name.
    """
    given = settings.model_fields_set
    for field, value in settings.model_dump(mode="json").items():
        name = f"AIRLOCK_{field.upper()}"
        nested = any(each.startswith(f"{name}__") for each in environment)
        if name in environment or nested or field == "home":
            source = "environment"
        else:
            source = "file" if field in given else "default"
        yield f"{name}={json.dumps(masked(value), ensure_ascii=False)}  # {source}"
