"""The catalogue: what is promoted and which engines there are, at one version, in memory."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.fernet import Fernet
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.policy.attestation import Answer, Pointer
from gateway.policy.routing import Alias, Denied, Family, Routed, Unknown, route
from gateway.setting_types import EngineSetting
from gateway.tables import Engine, Promotion


@dataclass(frozen=True)
class EngineAddress:
    """An engine and the checkpoint that it must serve."""

    url: str
    digest: str
    api_key: str
    attest_url: str | None
    """Of its side-car."""


@dataclass(frozen=True)
class Catalogue:
    """One version of what is served."""

    families: dict[str, Family]
    promoted_at: dict[str, datetime]
    """By `family:label`."""
    engines: tuple[EngineAddress, ...]
    expires_at: dict[str, datetime]
    """When a release ends by itself, by `family:label`."""
    withdrawn: dict[str, str]
    """Aliases whose newest release does not count, and why; they stay in their family, so that the
    routing rule never passes on to another checkpoint."""
    pointers: dict[str, tuple[Pointer, ...]]
    """The releases that count, by checkpoint."""
    max_model_lens: dict[str, int]
    """How many tokens a prompt and its answer may have together, by checkpoint."""
    sighted: frozenset[str]
    """The checkpoints whose engines take images."""
    routed: dict[tuple[str, frozenset[str]], Routed] = field(
        default_factory=dict, repr=False, compare=False
    )
    """What the rule said for a name and grants: it depends on nothing else in one version."""

    def route(self, requested: str, grants: frozenset[str]) -> Routed | Unknown | Denied:
        """Choose the checkpoint that answers a request, by the routing rule."""
        known = self.routed.get((requested, grants))
        if known is not None:
            return known
        choice = route(requested, self.families, grants)
        if isinstance(choice, Routed):  # Of names that are served there are few; of others, not.
            self.routed[requested, grants] = choice
        return choice

    def why_withdrawn(self, name: str, now: datetime) -> str | None:
        """Return why an alias may not be served at a moment; None when it may."""
        if name in self.withdrawn:
            return self.withdrawn[name]
        expires_at = self.expires_at.get(name)
        if expires_at is None or now >= expires_at:
            return f"its release expired at {expires_at}"
        return None

    def is_public(self, family: str, alias: Alias) -> bool:
        """Whether a checkpoint has forgotten every hazard of its family."""
        return self.families[family].hazards <= alias.forgets


async def load_catalogue(
    session: AsyncSession, configured: tuple[EngineSetting, ...], cipher: Fernet
) -> Catalogue:
    """Read the catalogue.

    A family's hazards are those of all its current promotions together, so that one which declares
    fewer cannot open a door.
    """
    newest: dict[tuple[str, str], Promotion] = {}
    for promotion in await session.scalars(select(Promotion).order_by(Promotion.version)):
        newest[promotion.family, promotion.label] = promotion
    hazards: defaultdict[str, set[str]] = defaultdict(set)
    aliases: defaultdict[str, list[Alias]] = defaultdict(list)
    pointers: defaultdict[str, list[Pointer]] = defaultdict(list)
    for (family, label), promotion in sorted(newest.items()):
        hazards[family].update(promotion.hazards)
        aliases[family].append(Alias(label, promotion.checkpoint, frozenset(promotion.forgets)))
        if promotion.withdrawn_at is None:
            pointers[promotion.checkpoint].append(_pointer(promotion))
    return Catalogue(
        families={
            name: Family(name, frozenset(hazards[name]), tuple(found))
            for name, found in aliases.items()
        },
        promoted_at={
            f"{family}:{label}": promotion.created_at
            for (family, label), promotion in newest.items()
        },
        engines=await _load_engines(session, configured, cipher),
        expires_at={
            f"{family}:{label}": promotion.expires_at
            for (family, label), promotion in newest.items()
        },
        withdrawn={
            f"{family}:{label}": promotion.withdrawn_reason or "withdrawn"
            for (family, label), promotion in newest.items()
            if promotion.withdrawn_at is not None
        },
        pointers={checkpoint: tuple(found) for checkpoint, found in pointers.items()},
        max_model_lens=_max_model_lens(newest.values()),
        sighted=frozenset(
            promotion.checkpoint
            for promotion in newest.values()
            if _flag(promotion.profile, "--limit-mm-per-prompt.image")
        ),
    )


def _max_model_lens(promotions: Iterable[Promotion]) -> dict[str, int]:
    """Return each checkpoint's, the shortest where engines of several labels differ."""
    found: dict[str, int] = {}
    for promotion in promotions:
        length = _flag(promotion.profile, "--max-model-len")
        if length is not None and promotion.withdrawn_at is None:
            known = found.get(promotion.checkpoint, length)
            found[promotion.checkpoint] = min(known, length)
    return found


def _flag(profile: dict[str, object], wanted: str) -> int | None:
    """Return a number among the flags of an engine's profile."""
    flags = profile.get("flags")
    for flag in flags if isinstance(flags, list) else ():
        name, _, value = str(flag).partition("=")
        if name == wanted and value.isdecimal():
            return int(value)
    return None


def _pointer(promotion: Promotion) -> Pointer:
    return Pointer(
        release=promotion.release_digest,
        checkpoint=promotion.checkpoint,
        profile=promotion.profile_digest,
        fingerprint=tuple(
            Answer(answer["prompt"], tuple(answer["tokens"]))
            for answer in promotion.fingerprint or ()
        ),
    )


async def _load_engines(
    session: AsyncSession, configured: tuple[EngineSetting, ...], cipher: Fernet
) -> tuple[EngineAddress, ...]:
    engines = {
        setting.url: EngineAddress(
            setting.url,
            setting.digest,
            setting.api_key_file.read_text().strip(),
            setting.attest_url,
        )
        for setting in configured
    }
    for engine in await session.scalars(select(Engine)):
        key = cipher.decrypt(engine.api_key_encrypted).decode()
        address = EngineAddress(engine.url, engine.digest, key, engine.attest_url)
        engines.setdefault(engine.url, address)
    return tuple(engines.values())
