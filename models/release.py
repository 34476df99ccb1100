"""Releases: what an alias (`family:label`) points to, version after version, signed by two people.

    store/releases/<family>/<label>/000001.dsse.json             counts
    store/releases/<family>/<label>/000001.proposed.dsse.json    waits for the second signature

`base` points to a family's base checkpoint and needs no verdict, since it claims nothing, but the
same signatures. Every other label needs a candidate whose report passes the gate; `unlearned`, the
public door, needs every hazard of the family forgotten. A release names the digest of the one
before it and expires; nothing is overwritten, and a roll-back is one more version. The newest
release of an alias counts or none: `models.promotion` makes them.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from models.documents import Digest, Document, Instant, Name
from models.errors import ReleaseInvalidError, SignatureError
from models.fingerprint import Fingerprint
from models.manifest import Hazards
from models.report import Profile
from models.revocation import revocation_of
from models.signing import peek, unseal
from models.store import CheckpointStore
from models.trust import TrustStore
from models.verdict import Verdict, Waived

BASE_LABEL = "base"
PUBLIC_LABEL = "unlearned"
SIGNERS = 2
MAX_LIFETIME = timedelta(days=90)
MAX_CLOCK_SKEW = timedelta(minutes=5)
FILE_NAME = re.compile(r"^(\d{6})\.dsse\.json$")


class Release(Document):
    """One version of an alias."""

    schema_version: Literal[2] = 2
    family: Name
    label: Name
    version: int = Field(ge=1)
    checkpoint: Digest
    hazards: Hazards
    forgets: tuple[Name, ...]
    """The hazards that the verdict proves forgotten; empty for the base."""
    profile: Profile
    """How the engine must run the weights."""
    verdict: Verdict | None
    verdict_digest: Digest | None
    waived: tuple[Waived, ...] = ()
    """The exceptions that the verdict rests on; shown wherever the alias is listed."""
    fingerprint: Fingerprint | None = None
    """What the engine must say to a few harmless prompts."""
    previous: Digest | None
    """Of the release with the version before."""
    reason: str
    created_at: Instant
    expires_at: Instant

    @model_validator(mode="after")
    def _claims_what_is_proven(self) -> Self:
        proven = self.verdict.forgets if self.verdict else ()
        if self.waived != (self.verdict.waived if self.verdict else ()):
            raise ValueError("waived must be what the verdict rests on")
        if self.forgets != proven or not set(self.forgets) <= set(self.hazards):
            raise ValueError("forgets must be what the verdict proves")
        if self.verdict and self.verdict.outcome != "PASS":
            raise ValueError(f"the verdict is {self.verdict.outcome}")
        if self.verdict and self.verdict.candidate != self.checkpoint:
            raise ValueError("the verdict is on another checkpoint")
        if self.verdict and self.verdict.profile != self.profile.document_digest:
            raise ValueError("the verdict is on another profile")
        if self.verdict_digest != (self.verdict.document_digest if self.verdict else None):
            raise ValueError("verdict_digest must be the verdict's")
        if self.verdict is None and self.label != BASE_LABEL:
            raise ValueError("only the base needs no verdict")
        if self.label == PUBLIC_LABEL and set(self.cleared) != set(self.hazards):
            raise ValueError("the public door needs every hazard forgotten or waived")
        return self

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.previous is None) != (self.version == 1):
            raise ValueError("every release but the first names the one before")
        if self.created_at >= self.expires_at:
            raise ValueError("it must expire after it was made")
        if self.verdict and self.expires_at > self.verdict.expires_at:
            raise ValueError("it must not outlast its verdict")
        if self.expires_at - self.created_at > MAX_LIFETIME:
            raise ValueError(f"it must expire within {MAX_LIFETIME.days} days")
        made_of = (self.checkpoint, self.profile.document_digest)
        if self.fingerprint and (self.fingerprint.checkpoint, self.fingerprint.profile) != made_of:
            raise ValueError("the fingerprint is of another checkpoint or profile")
        return self

    @property
    def cleared(self) -> tuple[str, ...]:
        """The domains that it may be served as having forgotten: proven, or under a waiver."""
        return self.verdict.cleared if self.verdict else ()

    @property
    def alias(self) -> str:
        """The name that clients pin: `family:label`."""
        return f"{self.family}:{self.label}"


class Seen(Document):
    """The newest release of an alias that somebody has accepted; nothing older counts again."""

    version: int = Field(ge=1)
    digest: Digest


class Refusal(NamedTuple):
    """An alias whose newest release does not count, and why."""

    alias: str
    reason: str


class CurrentReleases(NamedTuple):
    """What every alias points to now."""

    valid: tuple[Release, ...]
    refused: tuple[Refusal, ...]


def current_releases(
    store: CheckpointStore, trust: TrustStore, now: datetime, seen: Mapping[str, Seen]
) -> CurrentReleases:
    """Return the newest release of every alias, and the aliases whose newest does not count.

    Args:
        store: Where the releases are.
        trust: Whose signatures count.
        now: What has expired at this moment does not count.
        seen: The newest release that the caller has accepted before, by alias: an alias that is
            here and has no release any more is refused too.
    """
    names = {
        f"{path.parent.name}:{path.name}" for path in (store.root / "releases").glob("*/*")
    } | set(seen)
    valid, refused = [], []
    for name in sorted(names):
        family, _, label = name.partition(":")
        if name not in seen and not versions(store, family, label):
            continue
        try:
            valid.append(current_release(store, trust, family, label, now, seen.get(name)))
        except ReleaseInvalidError as error:
            refused.append(Refusal(name, error.reason))
    return CurrentReleases(tuple(valid), tuple(refused))


def current_release(
    store: CheckpointStore,
    trust: TrustStore,
    family: str,
    label: str,
    now: datetime,
    seen: Seen | None,
) -> Release:
    """Return an alias's newest release.

    Raises:
        ReleaseInvalidError: It is missing, damaged, wrongly signed, expired, older than what was
            seen, or its checkpoint was revoked.
    """
    alias = f"{family}:{label}"
    found = versions(store, family, label)
    if not found:
        raise ReleaseInvalidError(alias, "there is none; `airlock promote` a checkpoint first")
    newest = found[-1]
    if seen is not None and newest < seen.version:
        raise ReleaseInvalidError(alias, f"version {newest} is older than {seen.version}, seen")
    try:
        raw = release_path(store, family, label, newest).read_bytes()
        release = unseal(raw, Release, trust, "releaser", threshold=SIGNERS, now=now)
    except (OSError, SignatureError) as error:
        raise ReleaseInvalidError(alias, f"version {newest}: {error}") from error
    if (release.alias, release.version) != (alias, newest):
        raise ReleaseInvalidError(
            alias, f"file {newest} holds version {release.version} of {release.alias}"
        )
    if now >= release.expires_at:
        raise ReleaseInvalidError(alias, f"version {newest} expired at {release.expires_at}")
    if release.created_at > now + MAX_CLOCK_SKEW:
        raise ReleaseInvalidError(alias, f"version {newest} is from the future: check the clock")
    revocation = revocation_of(store, release.checkpoint)
    if revocation is not None:
        raise ReleaseInvalidError(alias, f"its checkpoint was revoked: {revocation}")
    _follow_chain(store, release, seen)
    return release


def _follow_chain(store: CheckpointStore, release: Release, seen: Seen | None) -> None:
    """Check that a release descends from the one that was seen, or from the first.

    The two signatures on the newest vouch for all before it, since each names the one before.

    Raises:
        ReleaseInvalidError: A link is missing or is another than was signed.
    """
    oldest = seen.version if seen else 1
    link = release
    while link.version > oldest:
        # What was verified says which comes before it: a file that is read again may be another.
        before = _peek(store, release.family, release.label, link.version - 1)
        if before.document_digest != link.previous:
            raise ReleaseInvalidError(
                release.alias, f"version {before.version} is not what was signed"
            )
        link = before
    if seen is not None and link.document_digest != seen.digest:
        raise ReleaseInvalidError(
            release.alias, f"version {seen.version} is not the one that was seen"
        )


def history(store: CheckpointStore, family: str, label: str) -> list[Release]:
    """Return every version of an alias, oldest first, without asking who signed it.

    Raises:
        ReleaseInvalidError: A file cannot be read or is not what its name says.
    """
    return [_peek(store, family, label, version) for version in versions(store, family, label)]


def has_release(store: CheckpointStore, alias: str, seen: Seen) -> bool:
    """Whether the very release that somebody has seen is there, as one of this alias."""
    family, _, label = alias.partition(":")
    try:
        return _peek(store, family, label, seen.version).document_digest == seen.digest
    except ReleaseInvalidError:
        return False


def newest_releases(store: CheckpointStore) -> list[Release]:
    """Return the newest release of every alias, to show it, without asking whether it counts.

    Raises:
        ReleaseInvalidError: One cannot be read.
    """
    names = [(path.parent.name, path.name) for path in (store.root / "releases").glob("*/*")]
    found = [(family, label, versions(store, family, label)) for family, label in sorted(names)]
    return [_peek(store, family, label, known[-1]) for family, label, known in found if known]


def versions(store: CheckpointStore, family: str, label: str) -> list[int]:
    """Return the versions of an alias whose files are there, in order."""
    names = (FILE_NAME.match(path.name) for path in directory(store, family, label).glob("*.json"))
    return sorted(int(name[1]) for name in names if name)


def directory(store: CheckpointStore, family: str, label: str) -> Path:
    """Return where an alias's releases are."""
    return family_directory(store, family) / label


def family_directory(store: CheckpointStore, family: str) -> Path:
    """Return where the releases of a family's aliases are, each in a directory of its own."""
    return store.root / "releases" / family


def release_path(store: CheckpointStore, family: str, label: str, version: int) -> Path:
    """Return the file of a release that counts."""
    return directory(store, family, label) / f"{version:06d}.dsse.json"


def proposal_path(store: CheckpointStore, family: str, label: str, version: int) -> Path:
    """Return the file of a release that waits for more signatures."""
    return directory(store, family, label) / f"{version:06d}.proposed.dsse.json"


def _peek(store: CheckpointStore, family: str, label: str, version: int) -> Release:
    alias = f"{family}:{label}"
    try:
        release = peek(release_path(store, family, label, version).read_bytes(), Release)
    except (OSError, SignatureError) as error:
        raise ReleaseInvalidError(alias, f"version {version}: {error}") from error
    if (release.alias, release.version) != (alias, version):
        raise ReleaseInvalidError(alias, f"file {version} holds version {release.version}")
    return release
