"""Scopes: what a key for the admin API may be used for, beside what its owner may do at all. Pure.

A key's scopes are listed one by one, so that one that is added here later is in no older key; a
word that is unknown here opens nothing.
"""

from collections.abc import Iterable
from enum import StrEnum


class Scope(StrEnum):
    """One part of the admin API."""

    READ = "admin:read"
    """Everything that changes nothing."""
    RESTRICT = "admin:restrict"
    """Closing, revoking, suspending, ending sessions."""
    PEOPLE = "admin:people"
    """People, their roles and identities, organisations, terms of use, whom notices go to."""
    KEYS = "admin:keys"
    """Making and rotating keys."""
    GRANTS = "admin:grants"
    """Grants that one administrator makes alone."""
    SERVING = "admin:serving"
    """Engines."""
    TIERS = "workflow:tiers"
    """Proposing, approving and withdrawing changes of tiers."""
    APPLY = "workflow:apply"
    """One's own evidence, applications, acceptance of terms."""
    REVIEW = "workflow:review"
    """Taking up, judging, accepting evidence, resuming grants and reviewing their use."""
    EMERGENCY = "workflow:emergency"
    """Opening by break-glass."""
    CONTENTS = "workflow:contents"
    """Asking for kept contents, agreeing, and taking them out."""


OF_ADMINISTRATORS = frozenset(
    {
        Scope.READ,
        Scope.RESTRICT,
        Scope.PEOPLE,
        Scope.KEYS,
        Scope.GRANTS,
        Scope.SERVING,
        Scope.TIERS,
    }
)
"""What an administrator's key, which is nobody's in particular, can have; and has by default."""
OF_WORKFLOW = frozenset(
    {
        Scope.READ,
        Scope.RESTRICT,
        Scope.TIERS,
        Scope.APPLY,
        Scope.REVIEW,
        Scope.EMERGENCY,
        Scope.CONTENTS,
    }
)
"""What a person's workflow key has by default: it administers nothing, whoever's it is."""


def known_scopes(names: Iterable[object]) -> frozenset[Scope]:
    """Return the scopes among names; an unknown name opens nothing."""
    values = {str(scope) for scope in Scope}
    return frozenset(Scope(name) for name in names if isinstance(name, str) and name in values)
