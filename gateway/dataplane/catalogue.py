"""The catalogue: what is promoted and which engines there are, at one version, in memory."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from cryptography.fernet import Fernet
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.policy.routing import Alias, Family
from gateway.settings import EngineSetting
from gateway.tables import Engine, Promotion


@dataclass(frozen=True)
class EngineAddress:
    """An engine and the checkpoint that it must serve."""

    url: str
    digest: str
    api_key: str


@dataclass(frozen=True)
class Catalogue:
    """One version of what is served."""

    families: dict[str, Family]
    promoted_at: dict[str, datetime]
    """By `family:label`."""
    engines: tuple[EngineAddress, ...]

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
    for (family, label), promotion in sorted(newest.items()):
        hazards[family].update(promotion.hazards)
        aliases[family].append(Alias(label, promotion.checkpoint, frozenset(promotion.forgets)))
    engines = {
        setting.url: EngineAddress(
            setting.url, setting.digest, setting.api_key_file.read_text().strip()
        )
        for setting in configured
    }
    for engine in await session.scalars(select(Engine)):
        key = cipher.decrypt(engine.api_key_encrypted).decode()
        engines.setdefault(engine.url, EngineAddress(engine.url, engine.digest, key))
    return Catalogue(
        families={
            name: Family(name, frozenset(hazards[name]), tuple(found))
            for name, found in aliases.items()
        },
        promoted_at={
            f"{family}:{label}": promotion.created_at
            for (family, label), promotion in newest.items()
        },
        engines=tuple(engines.values()),
    )
