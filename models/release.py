"""Releases: what an alias (`family:label`) points to, version after version.

`base` points to a family's base checkpoint and needs no verdict, since it claims nothing. Every
other label needs a candidate whose report passes the gate; `unlearned`, the public door, needs
every hazard of the family forgotten. A release is a new file with the next version; nothing is
overwritten, and a roll-back is one more version.
"""

from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from models.documents import (
    Digest,
    Document,
    Instant,
    Name,
    canonical_json,
    read_document,
    write_bytes,
)
from models.errors import CheckpointCorruptError, DocumentError, PromotionRefusedError
from models.evidence import collect, report_to_judge, trust_or_none
from models.gate import Verdict, judge
from models.manifest import Hazards, Manifest
from models.policy import Policy
from models.store import CheckpointStore
from models.verdict import Waived

BASE_LABEL = "base"
PUBLIC_LABEL = "unlearned"


class Release(Document):
    """One version of an alias."""

    schema_version: Literal[1] = 1
    family: Name
    label: Name
    version: int = Field(ge=1)
    checkpoint: Digest
    hazards: Hazards
    forgets: tuple[Name, ...]
    """The hazards that the verdict proves forgotten; empty for the base."""
    waived: tuple[Waived, ...] = ()
    """The exceptions that the verdict rests on, shown wherever the checkpoint is listed."""
    verdict: Verdict | None
    reason: str
    created_at: Instant

    @model_validator(mode="after")
    def _claims_what_is_proven(self) -> Self:
        proven = self.verdict.forgets if self.verdict else ()
        if self.waived != (self.verdict.waived if self.verdict else ()):
            raise ValueError("waived must be what the verdict rests on")
        if self.forgets != proven or not set(self.forgets) <= set(self.hazards):
            raise ValueError("forgets must be what the verdict proves")
        if self.verdict and self.verdict.candidate != self.checkpoint:
            raise ValueError("the verdict is on another checkpoint")
        if self.label == PUBLIC_LABEL and set(self.cleared) != set(self.hazards):
            raise ValueError("the public door needs every hazard forgotten or waived")
        return self

    @property
    def cleared(self) -> tuple[str, ...]:
        """The domains that it may be served as having forgotten: proven, or under a waiver."""
        return self.verdict.cleared if self.verdict else ()

    @property
    def alias(self) -> str:
        """The name that clients pin: `family:label`."""
        return f"{self.family}:{self.label}"


def examine(
    store: CheckpointStore, digest: Digest, label: str, policy: Policy, now: datetime
) -> Verdict | None:
    """Return the verdict that lets `label` point to a checkpoint (None for the base label).

    Every byte of the checkpoint is hashed again. Whose signatures count says the trust store beside
    the checkpoint store; where there is none, nothing is trusted.

    Raises:
        PromotionRefusedError: With the reason and what to do about it.
        CheckpointNotFoundError: The store has no such checkpoint.
    """
    try:
        manifest = store.verify(digest)
    except CheckpointCorruptError as error:
        raise PromotionRefusedError(
            f"its bytes have changed since they were judged: {error}"
        ) from error
    if label == BASE_LABEL:
        if not manifest.is_base:
            raise PromotionRefusedError(
                f"{digest} was unlearned; only a base checkpoint may be called {BASE_LABEL}"
            )
        return None
    if manifest.lineage is None:
        raise PromotionRefusedError(
            f"{digest} is a base checkpoint, from which nothing was unlearned; "
            f"it may only be called {BASE_LABEL}"
        )
    return _passing_verdict(store, manifest, label, policy, now)


def _passing_verdict(
    store: CheckpointStore, manifest: Manifest, label: str, policy: Policy, now: datetime
) -> Verdict:
    report = report_to_judge(store, manifest.digest)
    if report is None:
        raise PromotionRefusedError(
            f"{manifest.digest} has no report that is signed; run `airlock evaluate` on it first"
        )
    earlier = history(store, manifest.family, label)
    evidence = collect(
        store,
        trust_or_none(store.root.parent),
        report,
        now,
        None,
        released=earlier[-1].checkpoint if earlier else None,
    )
    verdict = judge(evidence.report, policy, evidence.facts)
    if verdict.outcome != "PASS":
        raise PromotionRefusedError(f"the gate says {verdict.outcome}: {verdict.complaint}")
    return verdict


def promote(
    store: CheckpointStore,
    digest: Digest,
    label: str,
    policy: Policy,
    *,
    reason: str,
    now: datetime,
) -> Release:
    """Point `family:label` to a checkpoint as its next version and return the release.

    Raises:
        PromotionRefusedError: The checkpoint may not have that label, or another
            promotion came first.
        CheckpointNotFoundError: The store has no such checkpoint.
    """
    verdict = examine(store, digest, label, policy, now)
    manifest = store.get(digest)
    earlier = history(store, manifest.family, label)
    release = Release(
        family=manifest.family,
        label=label,
        version=earlier[-1].version + 1 if earlier else 1,
        checkpoint=digest,
        hazards=manifest.hazards,
        forgets=verdict.forgets if verdict else (),
        waived=verdict.waived if verdict else (),
        verdict=verdict,
        reason=reason,
        created_at=now,
    )
    path = _directory(store, release.family, label) / f"{release.version:06d}.json"
    try:
        write_bytes(path, canonical_json(release.model_dump(mode="json")), replace=False)
    except FileExistsError as error:
        raise PromotionRefusedError(
            f"{release.alias} got version {release.version} from somebody else; look at it first"
        ) from error
    return release


def rollback(
    store: CheckpointStore,
    family: str,
    label: str,
    policy: Policy,
    *,
    to_version: int | None,
    reason: str,
    now: datetime,
) -> Release:
    """Point an alias to the checkpoint of an earlier version, as its next version.

    The checkpoint must hold under today's policy. Without `to_version` it is the newest earlier
    version with another checkpoint.

    Raises:
        PromotionRefusedError: There is no such version, or its checkpoint no longer passes.
    """
    return promote(
        store,
        rollback_target(store, family, label, to_version).checkpoint,
        label,
        policy,
        reason=reason,
        now=now,
    )


def rollback_target(
    store: CheckpointStore, family: str, label: str, to_version: int | None
) -> Release:
    """Return the earlier release that a roll-back would point to again.

    Raises:
        PromotionRefusedError: There is none.
    """
    releases = history(store, family, label)
    if not releases:
        raise PromotionRefusedError(f"{family}:{label} has never been promoted")
    current = releases[-1]
    for release in reversed(releases):
        chosen = (
            release.checkpoint != current.checkpoint
            if to_version is None
            else release.version == to_version
        )
        if chosen:
            return release
    wanted = "with another checkpoint" if to_version is None else str(to_version)
    raise PromotionRefusedError(f"{family}:{label} has no earlier version {wanted}")


def history(store: CheckpointStore, family: str, label: str) -> list[Release]:
    """Return every version of an alias, oldest first.

    Raises:
        DocumentError: A file cannot be read or is not what its name says: an older version must
            never come back because a newer one is damaged.
    """
    return [_read(path) for path in sorted(_directory(store, family, label).glob("[0-9]*.json"))]


def current_releases(store: CheckpointStore) -> list[Release]:
    """Return the newest version of every alias.

    Raises:
        DocumentError: As `history`.
    """
    return [
        _read(max(directory.glob("[0-9]*.json")))
        for directory in sorted((store.root / "releases").glob("*/*"))
        if any(directory.glob("[0-9]*.json"))
    ]


def _directory(store: CheckpointStore, family: str, label: str) -> Path:
    return store.root / "releases" / family / label


def _read(path: Path) -> Release:
    release = read_document(path, Release)
    if path.parts[-3:] != (release.family, release.label, f"{release.version:06d}.json"):
        raise DocumentError(path, f"holds version {release.version} of {release.alias}")
    return release
