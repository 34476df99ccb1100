"""One thing that is wrong with settings, or unsafe, and what to do about it."""

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong, or unsafe."""

    severity: Literal["problem", "warning"]
    place: str
    """The variable that it is about."""
    problem: str
    remedy: str


def problem(field: str, what: str, remedy: str) -> Finding:
    """Say what stands against a start."""
    return Finding("problem", variable(field), what, remedy)


def warning(field: str, what: str, remedy: str) -> Finding:
    """Say what is unsafe."""
    return Finding("warning", variable(field), what, remedy)


def variable(field: str) -> str:
    """Return the variable of a setting."""
    return f"AIRLOCK_{field.upper()}"
