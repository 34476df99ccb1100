"""Terms of use: which version a person has accepted, and until when that is enough. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class TermsVersion:
    """One version of the terms."""

    digest: str
    mandatory_from: datetime


def in_force(versions: Iterable[TermsVersion], now: datetime) -> TermsVersion | None:
    """Return the version that has to be accepted at a moment; None before the first."""
    begun = [version for version in versions if version.mandatory_from <= now]
    return max(begun, key=lambda version: (version.mandatory_from, version.digest), default=None)


def accepted_until(
    versions: Iterable[TermsVersion], accepted: frozenset[str], latest: datetime
) -> datetime | None:
    """Return until when the accepted terms suffice.

    Args:
        versions: Every version.
        accepted: The digests that the person has accepted.
        latest: What to return while no newer version is announced.

    Returns:
        When the first version becomes mandatory that is newer than all the accepted ones; None
        when none was accepted.
    """
    ordered = sorted(versions, key=lambda version: (version.mandatory_from, version.digest))
    newest = max((i for i, version in enumerate(ordered) if version.digest in accepted), default=-1)
    if newest < 0:
        return None
    return ordered[newest + 1].mandatory_from if newest + 1 < len(ordered) else latest
