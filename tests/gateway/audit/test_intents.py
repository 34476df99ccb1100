"""What the log asks of the database before a base request, and what it says of it."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, NamedTuple

import anyio
import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.entry import Entry
from gateway.audit.intents import Intent, complete
from gateway.controlplane import grants, people
from gateway.controlplane.schemas import GrantIn, PersonIn
from gateway.errors import GrantRevokedError, ReleaseWithdrawnError
from gateway.policy.grants import TierTerms
from gateway.tables import Application, Closure, Grant, Organisation, Person, Promotion, Tier
from tests.gateway.audit.conftest import NOW, entry, opened

CHECKPOINT = f"sha256:{'c' * 64}"


class Made(NamedTuple):
    """Who has a grant for capitals."""

    person: str
    grant: str


def intent(made: Made, *domains: str) -> Intent:
    return Intent(
        NOW,
        "req_1",
        made.person,
        "abcdefghijkl",
        "/v1/chat/completions",
        "smollm2",
        "base",
        CHECKPOINT,
        frozenset(domains or {"capitals"}),
        "0" * 64,
    )


async def prepare(session: AsyncSession) -> Made:
    given = PersonIn(name="ada", organisation="The Lab", tier="researcher")
    person = await people.add_person(session, given, actor="test", now=NOW)
    wanted = GrantIn(person_id=person.id, domain="capitals", reason="r")
    grant = await grants.create_grant(session, wanted, actor="test", now=NOW)
    session.add(
        Promotion(
            id=str(uuid.uuid4()), family="smollm2", label="base", version=1,
            checkpoint=CHECKPOINT, hazards=["capitals"], forgets=[], release_digest=CHECKPOINT,
            profile={}, profile_digest=CHECKPOINT, waived=[], fingerprint=None, actor="test",
            created_at=NOW, expires_at=NOW + timedelta(days=1),
        )
    )  # fmt: skip
    return Made(person.id, grant.id)


async def said(session: AsyncSession, made: Made) -> Any:
    (found,) = await complete(session, [intent(made)])
    assert isinstance(found, Entry)
    return found.detail


async def suspend(session: AsyncSession, made: Made) -> None:
    held = {"suspended_at": NOW, "suspended_by": "x", "suspended_reason": "r"}
    await session.execute(update(Grant).values(**held))


async def lapse(session: AsyncSession, made: Made) -> None:
    row = {"id": "a", "person_id": made.person, "state": "granted", "version": 1, "round": 1}
    await session.execute(insert(Application).values(since=NOW, created_at=NOW, **row))
    due = NOW + timedelta(days=1)
    await session.execute(update(Grant).values(application_id="a", usage_review_due_at=due))


async def close(session: AsyncSession, made: Made, domain: str | None = "capitals") -> None:
    row = {"id": "c", "domain": domain, "reason": "r", "closed_by": "x", "closed_at": NOW}
    await session.execute(insert(Closure).values(**row))


ENDS: dict[str, Callable[[AsyncSession, Made], Awaitable[object]]] = {
    "revoked": lambda session, _: session.execute(update(Grant).values(revoked_at=NOW)),
    "expired": lambda session, _: session.execute(
        update(Grant).values(not_before=NOW - timedelta(days=1), expires_at=NOW)
    ),
    "not begun": lambda session, _: session.execute(
        update(Grant).values(not_before=NOW + timedelta(seconds=1))
    ),
    "suspended": suspend,
    "rests on no evidence": lapse,
    "domain closed": close,
    "everything closed": lambda session, made: close(session, made, None),
    "organisation suspended": lambda session, _: session.execute(
        update(Organisation).values(state="suspended")
    ),
    "person suspended": lambda session, _: session.execute(
        update(Person).values(state="suspended")
    ),
    "tier without grants": lambda session, _: session.execute(update(Tier).values(grantable=False)),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_ends_a_grant_anywhere_ends_it_for_the_log(settings, end):
    async def main() -> None:
        async with opened(settings) as database:
            async with database.transaction() as session:
                made = await prepare(session)
            async with database.transaction() as session:
                (found,) = await complete(session, [intent(made)])
                assert isinstance(found, Entry)
                await end(session, made)
                other = entry(1)
                refused, kept = await complete(session, [intent(made), other])
                assert isinstance(refused, GrantRevokedError)
                assert kept is other

    anyio.run(main)


def test_an_intent_says_what_it_rests_on_and_every_term_of_the_tier(settings):
    async def main() -> None:
        async with opened(settings) as database, database.transaction() as session:
            made = await prepare(session)
            detail = await said(session, made)
            assert detail["organisation"] == "The Lab"
            (grant,) = detail["grants"]
            assert (grant["id"], grant["approved_by"]) == (made.grant, "test")
            ended = GrantIn(person_id=made.person, domain="capitals", reason="r", days=1)
            later = await grants.create_grant(session, ended, actor="test", now=NOW)
            assert len((await said(session, made))["grants"]) == 2
            held = {"suspended_at": NOW, "suspended_by": "x", "suspended_reason": "r"}
            await session.execute(update(Grant).where(Grant.id == later.id).values(**held))
            assert (await said(session, made))["grants"] == [grant], "what it rests on"
            assert detail["tier"].keys() == TierTerms.__dataclass_fields__.keys()
            assert "prefill" in detail["tier"]["capabilities"]
            before = detail["policy"]
            await session.execute(update(Tier).values(priority=7, capabilities=["unheard_of"]))
            after = await said(session, made)
            assert after["tier"]["priority"] == 7
            assert after["tier"]["capabilities"] == []
            assert after["policy"] != before

    anyio.run(main)


def test_a_second_hazard_and_a_withdrawn_release_are_refused(settings):
    async def main() -> None:
        async with opened(settings) as database, database.transaction() as session:
            made = await prepare(session)
            found = await complete(session, [intent(made), intent(made, "capitals", "rivers")])
            assert [type(each) for each in found] == [Entry, GrantRevokedError]
            await session.execute(update(Promotion).values(withdrawn_at=NOW))
            (refused,) = await complete(session, [intent(made)])
            assert isinstance(refused, ReleaseWithdrawnError)

    anyio.run(main)
