"""The demo's people and keys: made once, kept in `demo.json`, replaced when they no longer hold."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import in_transaction, operator
from gateway.controlplane.grants import create_grant
from gateway.controlplane.key_schemas import KeyIn
from gateway.controlplane.keys import create_key
from gateway.controlplane.people import add_person
from gateway.controlplane.schemas import GrantIn, PersonIn
from gateway.errors import AuthenticationError
from gateway.identity.directory import load_directory
from gateway.identity.peppers import Peppers, load_peppers
from gateway.identity.secret import load_secret
from gateway.settings import Settings
from models.documents import write_bytes

ACTOR = "demo"


@dataclass(frozen=True)
class DemoFacts:
    """What scripts need to use the demo; `demo.json`, which only its owner can read."""

    base_url: str
    public_key: str
    researcher_key: str
    admin_key: str
    model: str


def facts_path(home: Path) -> Path:
    """Return where the facts are kept."""
    return home / "demo.json"


def write_facts(home: Path, facts: DemoFacts) -> None:
    """Replace the facts."""
    content = json.dumps(asdict(facts), indent=2) + "\n"
    write_bytes(facts_path(home), content.encode(), mode=0o600)


def ensure_access(settings: Settings, base_url: str, model: str, domain: str) -> DemoFacts:
    """Return facts with keys that hold now, those of an earlier run if they still do."""
    peppers = load_peppers(settings, load_secret(settings))
    earlier = _read(settings.home)
    now = datetime.now(UTC)

    async def work(session: AsyncSession) -> DemoFacts:
        if earlier is not None and await _hold(session, peppers, earlier, domain, now):
            return DemoFacts(**{**asdict(earlier), "base_url": base_url, "model": model})
        keys = {"admin_key": KeyIn(admin=True, label="demo")}
        for name, tier in (("public", "public"), ("researcher", "researcher")):
            person = await add_person(
                session,
                PersonIn(name=f"Demo {name}", organisation="Demo", tier=tier),
                actor=ACTOR,
                now=now,
            )
            keys[f"{name}_key"] = KeyIn(person_id=person.id, label="demo")
            if tier == "researcher":
                grant = GrantIn(person_id=person.id, domain=domain, days=90, reason="The demo.")
                await create_grant(session, grant, actor=ACTOR, now=now)
        texts = {
            name: (
                await create_key(session, given, peppers=peppers, maker=operator(now), now=now)
            ).text
            for name, given in keys.items()
        }
        return DemoFacts(base_url=base_url, model=model, **texts)

    return in_transaction(settings, work)


def _read(home: Path) -> DemoFacts | None:
    try:
        return DemoFacts(**json.loads(facts_path(home).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


async def _hold(
    session: AsyncSession, peppers: Peppers, facts: DemoFacts, domain: str, now: datetime
) -> bool:
    directory = await load_directory(session, peppers)
    try:
        public = directory.authenticate(f"Bearer {facts.public_key}", now)
        researcher = directory.authenticate(f"Bearer {facts.researcher_key}", now)
        directory.authenticate_admin(f"Bearer {facts.admin_key}", now)
    except AuthenticationError:
        return False
    return domain in researcher.domains(now) and not public.domains(now)
