"""The routing rule: which checkpoint a request is answered by.

A family has a set of hazards H; each checkpoint c that is promoted in it has forgotten F(c) of
them, as its gate verdict proves. A caller with live grants G may be served c if and only if

    H - F(c) is a subset of G

and of those it is served the one that has forgotten least. `family` asks for this rule;
`family:label` pins a checkpoint and is denied when the caller is not entitled to it. Health is not
an argument: a fault must never choose another door.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Alias:
    """A promoted checkpoint behind its label."""

    label: str
    checkpoint: str
    """Digest."""
    forgets: frozenset[str]


@dataclass(frozen=True)
class Family:
    """A model family: its hazards and what is promoted in it."""

    name: str
    hazards: frozenset[str]
    """Never empty: an empty set would make every checkpoint public."""
    aliases: tuple[Alias, ...]

    def __post_init__(self) -> None:
        if not self.hazards:
            raise ValueError(f"family {self.name} declares no hazards")

    @cached_property
    def by_label(self) -> Mapping[str, Alias]:
        """The aliases by label."""
        return {alias.label: alias for alias in self.aliases}


@dataclass(frozen=True)
class Routed:
    """The checkpoint that answers."""

    family: str
    alias: Alias

    @cached_property
    def name(self) -> str:
        """The alias's full name, `family:label`."""
        return f"{self.family}:{self.alias.label}"


@dataclass(frozen=True)
class Unknown:
    """No such family or label."""

    name: str


@dataclass(frozen=True)
class Denied:
    """The caller is not entitled to what it pinned, or to anything in the family."""

    name: str
    missing: tuple[str, ...]
    """The domains for which a grant is missing, sorted."""


def missing_grants(family: Family, alias: Alias, grants: frozenset[str]) -> frozenset[str]:
    """Return H - F(c) - G: the domains that keep a caller from a checkpoint; empty if entitled."""
    return family.hazards - alias.forgets - grants


def eligible(family: Family, grants: frozenset[str]) -> list[Alias]:
    """Return the aliases that a caller may be served, the least forgotten first.

    Among equals the order is that of their labels, so that the choice is the same everywhere.
    """
    allowed = [alias for alias in family.aliases if not missing_grants(family, alias, grants)]
    return sorted(allowed, key=lambda alias: (len(alias.forgets & family.hazards), alias.label))


def route(
    requested: str, families: Mapping[str, Family], grants: frozenset[str]
) -> Routed | Unknown | Denied:
    """Choose the checkpoint that answers a request.

    Args:
        requested: The request's `model`: `family` or `family:label`.
        families: What is promoted.
        grants: The caller's live domain grants.
    """
    name, colon, label = requested.partition(":")
    family = families.get(name)
    if family is None:
        return Unknown(requested)
    if colon:
        pinned = family.by_label.get(label)
        if pinned is None:
            return Unknown(requested)
        missing = missing_grants(family, pinned, grants)
        return Denied(requested, tuple(sorted(missing))) if missing else Routed(name, pinned)
    choices = eligible(family, grants)
    if not choices:
        return Denied(requested, tuple(sorted(family.hazards - grants)))
    return Routed(name, choices[0])
