"""Reading what changed gives what reading everything gives; what does not fit is read whole."""

import uuid
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from gateway.cli.tables import operator, with_database
from gateway.controlplane import (
    breakglass,
    grants,
    identities,
    keys,
    organisations,
    people,
    person_changes,
    terms,
)
from gateway.controlplane.breakglass_schemas import ClosureIn
from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.identity_schemas import IdentityIn
from gateway.controlplane.key_schemas import KeyIn
from gateway.controlplane.schemas import PersonChange, PersonIn
from gateway.controlplane.verification_schemas import OrganisationChange
from gateway.db import Database
from gateway.identity import changed
from gateway.identity.changed import Version, changes_between, follow, read_version
from gateway.identity.directory import Directory, load_directory
from gateway.identity.peppers import Peppers
from gateway.identity.principal import Principal
from gateway.setting_types import IssuerSetting
from gateway.tables import (
    ApiKey,
    Application,
    AuthorizationChange,
    Closure,
    EvidenceItem,
    Grant,
    Identity,
    Opening,
    Organisation,
    Person,
    Terms,
    Tier,
)
from tests.gateway.conftest import make_settings

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BY = {"actor": "test", "now": NOW}
PEPPERS = Peppers({1: b"p" * 32})
MAKER = {"peppers": PEPPERS, "maker": operator(NOW), "now": NOW}
LAB = IssuerSetting(name="lab", issuer="https://lab.example")


PROOFS = (
    ("federation", None, "system"),
    ("training", "d0", "so"),
    ("approval_letter", "d0", "so"),
)


class Changer:
    """Changes of every kind, each of a row that a number picks."""

    def __init__(self, session, pick: int) -> None:
        self.session, self.pick = session, pick

    async def one(self, query):
        rows = list(await self.session.scalars(query))
        return rows[self.pick % len(rows)] if rows else None

    async def person(self) -> str:
        return (await self.one(select(Person).order_by(Person.id))).id

    async def record(self, tag: Tag, subject: str, **detail) -> None:
        await record_change(self.session, tag, subject, **BY, **detail)

    async def add_person(self) -> None:
        given = PersonIn(name="n", organisation=f"o{self.pick % 3}", tier="researcher")
        await people.add_person(self.session, given, **BY)

    async def change_person(self) -> None:
        change = [
            PersonChange(tier="public"),
            PersonChange(tier="researcher"),
            PersonChange(state="suspended"),
            PersonChange(state="active"),
            PersonChange(organisation=f"o{self.pick % 3}"),
        ][self.pick % 5]
        await person_changes.change_person(self.session, await self.person(), change, **BY)

    async def add_key(self) -> None:
        owner = {"admin": True} if self.pick % 4 == 0 else {"person_id": await self.person()}
        await keys.create_key(self.session, KeyIn(**owner), **MAKER)

    async def rotate_key(self) -> None:
        key = await self.one(select(ApiKey).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.id))
        if key is not None:
            overlap = timedelta(hours=self.pick % 2)
            await keys.rotate_key(self.session, key.id, overlap, **MAKER)

    async def revoke_key(self) -> None:
        key = await self.one(select(ApiKey).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.id))
        if key is not None:
            await keys.revoke_key(self.session, key.id, **BY)

    async def add_grant(self) -> None:
        held = select(Person).where(Person.tier == "researcher").order_by(Person.id)
        person = await self.one(held)
        if person is None:
            return
        grant = Grant(person_id=person.id, domain=f"d{self.pick % 2}", reason="r", approved_by="a")
        if self.pick % 3:  # One of the workflow, which rests on evidence, terms and reviews.
            application = Application(
                id=str(uuid.uuid4()), person_id=person.id, state="granted", since=NOW, version=1,
                round=1, created_at=NOW,
            )  # fmt: skip
            self.session.add(application)
            await self.session.flush()
            grant.application_id, grant.usage_review_due_at = application.id, NOW
        await grants.add_grant(self.session, grant, timedelta(days=self.pick + 1), **BY)

    async def revoke_grant(self) -> None:
        grant = await self.one(select(Grant).where(Grant.revoked_at.is_(None)).order_by(Grant.id))
        if grant is not None:
            await grants.revoke_grant(self.session, grant.id, **BY)

    async def change_grant(self) -> None:
        """What the workflow does to a grant: suspended, resumed, reviewed."""
        grant = await self.one(select(Grant).where(Grant.revoked_at.is_(None)).order_by(Grant.id))
        if grant is None:
            return
        tag = (Tag.GRANT_SUSPENDED, Tag.GRANT_RESUMED, Tag.USAGE_REVIEWED)[self.pick % 3]
        if tag is Tag.USAGE_REVIEWED and grant.application_id is not None:
            grant.usage_review_due_at = NOW + timedelta(days=self.pick)
        elif tag is not Tag.USAGE_REVIEWED:
            grant.suspended_at = NOW if tag is Tag.GRANT_SUSPENDED else None
        await self.record(tag, grant.id)

    async def change_evidence(self) -> None:
        """What an identity reviewer does to evidence."""
        item = await self.one(
            select(EvidenceItem)
            .where(EvidenceItem.retracted_at.is_(None))
            .order_by(EvidenceItem.id)
        )
        if item is None or self.pick % 2:
            person = await self.person()
            kind, domain, by = PROOFS[self.pick // 2 % len(PROOFS)]
            item = EvidenceItem(
                id=str(uuid.uuid4()), person_id=person, kind=kind, domain=domain, source="s",
                created_at=NOW, asserted_by=by, accepted_by=person, accepted_at=NOW,
                expires_at=NOW + timedelta(days=self.pick),
            )  # fmt: skip
            self.session.add(item)
            await self.record(Tag.EVIDENCE_ACCEPTED, item.id)
            return
        item.retracted_at = NOW
        await self.record(Tag.EVIDENCE_RETRACTED, item.id)

    async def accept_terms(self) -> None:
        known = await self.one(select(Terms).order_by(Terms.digest))
        if known is not None:
            person = await self.person()
            await terms.accept_terms(self.session, known.digest, person_id=person, **BY)

    async def bind(self) -> None:
        subject = f"s{self.pick}"
        domains = None if self.pick % 2 else ["d0"]
        given = IdentityIn(
            issuer="lab", subject=subject, person_id=await self.person(), domains=domains
        )
        if await self.one(select(Identity).where(Identity.subject == subject)) is None:
            await identities.bind_identity(self.session, given, LAB, **BY)

    async def unbind(self) -> None:
        identity = await self.one(select(Identity).order_by(Identity.id))
        if identity is not None:
            await identities.unbind_identity(self.session, identity.id, **BY)

    async def change_organisation(self) -> None:
        found = await self.one(select(Organisation).order_by(Organisation.name))
        state = ("verified", "suspended")[self.pick % 2]
        change = OrganisationChange(state=state)
        await organisations.change_organisation(self.session, found.id, change, **BY)

    async def close(self) -> None:
        domain = (None, "d0", "d1")[self.pick % 3]
        given = ClosureIn(domain=domain, reason="r")
        await breakglass.close_door(self.session, given, caller="test", now=NOW)

    async def lift(self) -> None:
        closure = await self.one(
            select(Closure).where(Closure.lifted_at.is_(None)).order_by(Closure.id)
        )
        if closure is not None:
            closure.lifted_at = NOW
            opening = Opening(
                id=str(uuid.uuid4()), closure_id=closure.id, domain=closure.domain, reason="r",
                requested_by=await self.person(), requested_at=NOW,
            )  # fmt: skip
            self.session.add(opening)
            await self.session.flush()
            await self.record(Tag.OPENING_CONFIRMED, opening.id)

    async def promote(self) -> None:
        """What the registry or an engine's row changes is none of the directory's."""
        tag = [Tag(each) for each in changed.OF_CATALOGUE][self.pick % len(changed.OF_CATALOGUE)]
        await self.record(tag, "smollm2:base")


UNKNOWN = ("change_tier", "publish_terms")


class WholeChanger(Changer):
    """Changes that have everything read again."""

    async def change_tier(self) -> None:
        tier = await self.session.get(Tier, "researcher")
        tier.max_grant_days = 90 + self.pick
        await self.record(Tag.TIER_CHANGED, "researcher")

    async def publish_terms(self) -> None:
        digest = f"sha256:{self.pick:064}"
        if await self.session.get(Terms, digest) is None:
            begins = NOW + timedelta(days=self.pick)
            self.session.add(
                Terms(digest=digest, text="t", mandatory_from=begins, actor="a", created_at=NOW)
            )
        await self.record(Tag.TERMS_PUBLISHED, digest)


KINDS = sorted(
    name
    for name in vars(Changer)
    if not name.startswith("_") and name not in ("one", "person", "record")
)
STEPS = st.lists(
    st.lists(
        st.tuples(st.sampled_from([*KINDS, *UNKNOWN]), st.integers(0, 59)), min_size=1, max_size=3
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def settings(request, tmp_path_factory):
    made = make_settings(request, tmp_path_factory.mktemp("changed"), request.param)

    async def main(database: Database) -> None:
        async with database.transaction() as session:
            for pick in range(4):
                await Changer(session, pick).add_person()
                await session.flush()

    with_database(made, main)
    return made


async def read(database: Database) -> tuple[Version, Directory]:
    async with database.transaction() as session:
        return await version_of(session), normal(await load_directory(session, PEPPERS))


async def version_of(session) -> Version:
    version = await read_version(session)
    assert version is not None
    return version


def callers(directory: Directory) -> dict[str, Principal | None]:
    """Everybody who may call: a directory remembers whom it was asked for."""
    ids = [*directory.keys, *(identity.id for identity in directory.identities.values())]
    found = {each: directory.principal(each, NOW) for each in ids}
    return {
        each: who and replace(who, grants=tuple(sorted(who.grants, key=lambda grant: grant.id)))
        for each, who in found.items()
    }


def normal(directory: Directory) -> Directory:
    """With grants in one order: a directory has them in none."""
    ordered = {
        person: tuple(sorted(held, key=lambda grant: grant.id))
        for person, held in directory.grants.items()
    }
    return replace(directory, grants=ordered)


@examples(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_what_changed_leads_to_what_is(settings, steps):
    async def main(database) -> None:
        held, directory = await read(database)
        callers(directory)
        for step in steps:
            async with database.transaction() as session:
                for kind, pick in step:
                    await getattr(WholeChanger(session, pick), kind)()
                    await session.flush()
            async with database.transaction() as session:
                current = await read_version(session)
                changes = await changes_between(session, held, current)
                if changes is None:
                    assert any(kind in UNKNOWN for kind, _ in step) or held.mark == ""
                    directory = await load_directory(session, PEPPERS)
                else:
                    directory = await follow(session, directory, changes)
                callers(directory)
            held = current
            loaded = (await read(database))[1]
            assert normal(directory) == loaded
            assert callers(directory) == callers(loaded), "who called before is known anew"

    with_database(settings, main)


def test_a_directory_has_no_part_that_is_not_read_again():
    """A new part is read again by `follow` before it is added here, or never carried over."""
    known = {"peppers", "keys", "people", "grants", "identities", "proven"}
    assert {each.name for each in fields(Directory) if each.init} == known


def test_every_kind_of_change_that_is_read_in_part_is_one_that_there_is():
    assert set(Tag) >= changed.KNOWN


def test_what_does_not_fit_is_read_whole(settings, monkeypatch):
    async def nobody(*_, **__) -> None:
        """The subjects are not what their tags say: there is nobody to be told."""

    monkeypatch.setattr("gateway.controlplane.changes.tell", nobody)

    async def main(database) -> None:
        async def change(*tags: Tag) -> Version:
            async with database.transaction() as session:
                person = await Changer(session, 0).person()
                for tag in tags:
                    await record_change(session, tag, person, **BY)
                return await version_of(session)

        async def between(held: Version, current: Version):
            async with database.transaction() as session:
                return await changes_between(session, held, current)

        first = await change(Tag.PERSON_CHANGED)
        second = await change(Tag.PERSON_CHANGED, Tag.PERSON_CHANGED)
        fits = await between(first, second)
        assert len(fits.people) == 1
        assert fits == changed.Changes(fits.people, frozenset(), False, False, False)
        other = uuid.uuid4().hex
        assert await between(first._replace(mark=other), second) is None
        assert await between(first, second._replace(mark=other)) is None
        assert await between(second, first) is None
        assert await between(first, second._replace(number=second.number + 1)) is None
        # A kind that nobody has listed; one that names nobody; a subject that is not there.
        for tag in (Tag.ROLES_CHANGED, Tag.TERMS_ACCEPTED, Tag.GRANT_REVOKED):
            before, after = second, await change(tag)
            assert await between(before, after) is None
            second = after
        third = await change(Tag.PERSON_CHANGED)
        monkeypatch.setattr(changed, "MOST_PEOPLE", 0)
        assert await between(second, third) is None
        monkeypatch.undo()
        # A row that is missing: of a change by hand, or pruned.
        last = await change(Tag.PERSON_CHANGED, Tag.PERSON_CHANGED)
        async with database.transaction() as session:
            gone = AuthorizationChange.version == last.number - 1
            await session.execute(delete(AuthorizationChange).where(gone))
        assert await between(third, last) is None

    with_database(settings, main)


def test_old_changes_are_not_kept(settings, monkeypatch):
    monkeypatch.setattr("gateway.controlplane.changes.KEPT_CHANGES", 3)

    async def main(database) -> None:
        async with database.transaction() as session:
            for _ in range(5):
                await record_change(session, Tag.PERSON_CHANGED, "x", **BY)
            current = await version_of(session)
            rows = await session.scalars(select(AuthorizationChange.version))
            assert sorted(rows) == [current.number - back for back in (2, 1, 0)]
            await session.execute(update(AuthorizationChange).values(subject="y"))

    with_database(settings, main)
