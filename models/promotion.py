"""Promotion: drafting a release, signing it, and going back.

What a release claims is examined when it is drafted, and again by whoever approves it
(`models.approval`).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.documents import Digest, write_bytes
from models.errors import CheckpointCorruptError, PromotionRefusedError, SignatureError
from models.evidence import collect, report_to_judge
from models.fingerprint import Fingerprint
from models.gate import Verdict, judge
from models.manifest import Manifest
from models.policy import Policy
from models.release import (
    BASE_LABEL,
    MAX_LIFETIME,
    SIGNERS,
    Release,
    directory,
    family_directory,
    history,
    proposal_path,
    release_path,
)
from models.report import Profile
from models.revocation import revocation_of
from models.signing import seal, unseal
from models.store import CheckpointStore
from models.trust import TrustStore

DEFAULT_LIFETIME = timedelta(days=30)


@dataclass(frozen=True)
class Wanted:
    """What somebody wants an alias to point to."""

    label: str
    checkpoint: Digest
    profile: Profile
    reason: str
    lifetime: timedelta = DEFAULT_LIFETIME
    fingerprint: Fingerprint | None = None


class Signed(NamedTuple):
    """A release that was signed, and whether enough people have."""

    release: Release
    is_complete: bool


def examine(
    store: CheckpointStore,
    trust: TrustStore,
    digest: Digest,
    label: str,
    policy: Policy,
    profile: Profile,
    now: datetime,
) -> Verdict | None:
    """Return the verdict that lets `label` point to a checkpoint (None for the base label).

    Every byte of the checkpoint is hashed again.

    Args:
        store: Where the checkpoint and the reports on it are.
        trust: Whose signatures count.
        digest: The checkpoint.
        label: Where it should be served.
        policy: Today's limits.
        profile: How it would be run.
        now: The moment.

    Raises:
        PromotionRefusedError: With the reason and what to do about it.
        CheckpointNotFoundError: The store has no such checkpoint.
    """
    revocation = revocation_of(store, digest)
    if revocation is not None:
        raise PromotionRefusedError(f"{digest} was revoked: {revocation}")
    try:
        manifest = store.verify(digest)
    except CheckpointCorruptError as error:
        raise PromotionRefusedError(
            f"its bytes have changed since they were judged: {error}"
        ) from error
    if profile.adapters:
        raise PromotionRefusedError("its profile names adapters, which no manifest lists")
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
    report = report_to_judge(store, digest, now)
    if report is None:
        raise PromotionRefusedError(f"{digest} has no report; run `airlock evaluate` on it first")
    # What attacks bring back must not be more than in what is released now.
    released = _released(store, trust, manifest.family, label)
    evidence = collect(store, trust, report, now, profile, released=released)
    verdict = judge(evidence.report, policy, evidence.facts)
    if verdict.outcome != "PASS":
        raise PromotionRefusedError(f"the gate says {verdict.outcome}: {verdict.complaint}")
    return verdict


def _released(store: CheckpointStore, trust: TrustStore, family: str, label: str) -> Digest | None:
    """Return the checkpoint of an alias's newest release that two people signed, if any.

    Who writes to the store could put a release there that nobody signed, of a checkpoint that was
    never attacked. Where none can be checked, since a new trust store has other keys, the newest
    counts.

    Raises:
        ReleaseInvalidError: A release cannot be read.
    """
    releases = history(store, family, label)
    for one in reversed(releases):
        raw = release_path(store, family, label, one.version).read_bytes()
        with suppress(SignatureError):
            return unseal(
                raw, Release, trust.ever(), "releaser", threshold=SIGNERS, now=one.created_at
            ).checkpoint
    return releases[-1].checkpoint if releases else None


def draft(
    store: CheckpointStore, trust: TrustStore, wanted: Wanted, policy: Policy, now: datetime
) -> Release:
    """Return the release that would be an alias's next version; nothing is written.

    Raises:
        PromotionRefusedError: The checkpoint may not have that label.
        ReleaseInvalidError: An earlier release cannot be read: it must be restored first.
        CheckpointNotFoundError: The store has no such checkpoint.
    """
    if not timedelta(0) < wanted.lifetime <= MAX_LIFETIME:
        raise PromotionRefusedError(f"a release expires within {MAX_LIFETIME.days} days")
    checkpoint, label = wanted.checkpoint, wanted.label
    verdict = examine(store, trust, checkpoint, label, policy, wanted.profile, now)
    manifest = store.get(checkpoint)
    _keep_every_hazard(store, manifest)
    earlier = history(store, manifest.family, label)
    end = now + wanted.lifetime
    return Release(
        family=manifest.family,
        label=label,
        version=earlier[-1].version + 1 if earlier else 1,
        checkpoint=checkpoint,
        hazards=manifest.hazards,
        forgets=verdict.forgets if verdict else (),
        profile=wanted.profile,
        verdict=verdict,
        verdict_digest=verdict.document_digest if verdict else None,
        waived=verdict.waived if verdict else (),
        fingerprint=wanted.fingerprint,
        previous=earlier[-1].document_digest if earlier else None,
        reason=wanted.reason,
        created_at=now,
        expires_at=min(end, verdict.expires_at) if verdict else end,
    )


def sign(
    store: CheckpointStore,
    trust: TrustStore,
    release: Release,
    keys: Sequence[Ed25519PrivateKey],
    now: datetime,
) -> Signed:
    """Sign a drafted release; with two holders it takes effect, with one it is proposed.

    Raises:
        SignatureError: No key is a trusted releaser's.
        PromotionRefusedError: Somebody else was faster.
    """
    return keep(store, trust, seal(release, keys), now)


def _keep_every_hazard(store: CheckpointStore, manifest: Manifest) -> None:
    """Check that a family has not lost a hazard since it was first released.

    A manifest is no part of its checkpoint's digest, and what it lists decides what the gate asks
    for and which grants open the base; two people have signed what it listed before.

    Raises:
        PromotionRefusedError: An earlier release of the family has a hazard that is not listed now.
    """
    for label in sorted(path.name for path in family_directory(store, manifest.family).glob("*")):
        for release in history(store, manifest.family, label):
            lost = sorted(set(release.hazards) - set(manifest.hazards))
            if lost:
                raise PromotionRefusedError(
                    f"{manifest.digest} is listed without {', '.join(lost)}, "
                    f"which {release.alias} version {release.version} has; "
                    "a family's hazards can grow, and never shrink"
                )


def rollback_target(
    store: CheckpointStore, family: str, label: str, to_version: int | None
) -> Release:
    """Return the earlier release that a roll-back would point to again.

    Without `to_version` it is the newest earlier version with another checkpoint.

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


def keep(store: CheckpointStore, trust: TrustStore, raw: bytes, now: datetime) -> Signed:
    """Write a signed release where it belongs: among those that count, or as a proposal.

    Raises:
        SignatureError: No trusted releaser has signed it.
        PromotionRefusedError: The alias has got that version meanwhile.
    """
    release = unseal(raw, Release, trust, "releaser", threshold=1, now=now)
    where = (store, release.family, release.label, release.version)
    try:
        unseal(raw, Release, trust, "releaser", threshold=SIGNERS, now=now)
    except SignatureError:
        directory(store, release.family, release.label).mkdir(parents=True, exist_ok=True)
        write_bytes(proposal_path(*where), raw)
        return Signed(release, is_complete=False)
    try:
        write_bytes(release_path(*where), raw, replace=False)
    except FileExistsError as error:
        raise PromotionRefusedError(
            f"{release.alias} got version {release.version} from somebody else; look at it first"
        ) from error
    proposal_path(*where).unlink(missing_ok=True)
    return Signed(release, is_complete=True)
