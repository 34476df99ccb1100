"""What ends something, while somebody else is changing it: the end stays, and is one."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import operator
from gateway.controlplane import (
    addresses,
    applications,
    breakglass,
    engines,
    grants,
    identities,
    institution_mail,
    keys,
    logins,
    notices,
    organisations,
    people,
    person_changes,
    serving,
    sessions,
    sponsors,
    terms,
    tier_changes,
)
from gateway.controlplane.addresses import Owner
from gateway.controlplane.breakglass_schemas import EmergencyIn
from gateway.controlplane.changes import Tag
from gateway.controlplane.contact_schemas import SponsorIn
from gateway.controlplane.identity_schemas import IdentityIn
from gateway.controlplane.key_schemas import KeyIn
from gateway.controlplane.schemas import EngineIn, GrantIn, PersonChange, PersonIn
from gateway.controlplane.tier_schemas import TierProposal, TierTermsIn
from gateway.controlplane.verification_schemas import ApplicationIn, OrganisationChange, TermsIn
from gateway.db import Database
from gateway.errors import ConflictError, InvalidRequestError, NotFoundError, NotPermittedError
from gateway.identity.login import LoggedIn
from gateway.identity.peppers import Peppers
from gateway.identity.principal import Member
from gateway.identity.proof import Assurance, Proof
from gateway.notices.keys import NoticeKeys
from gateway.notices.recipients import institution_code
from gateway.policy.applications import Action
from gateway.policy.notices import Event
from gateway.setting_types import IssuerSetting
from gateway.tables import (
    Address,
    ApiKey,
    Application,
    AuditEntry,
    EvidenceItem,
    Grant,
    InstitutionMail,
    Terms,
)
from models.release import CurrentReleases
from models.store import CheckpointStore
from tests.gateway.conftest import make_settings
from tests.models.checkpoints import put_base
from tests.models.trusting import point, trust_in

NOW = datetime.now(UTC)
LATER = NOW + timedelta(seconds=1)
MADE = {"peppers": Peppers({1: b"p" * 32}), "maker": operator(NOW)}
Step = Callable[[AsyncSession], Awaitable[object]]


@pytest.fixture
async def database(settings):
    database = Database(settings)
    await database.prepare(settings)
    yield database
    await database.close()


@pytest.fixture
def postgresql(request, tmp_path):
    """Settings on a database on which two transactions write at the same time."""
    return make_settings(request, tmp_path, "postgresql")


async def meanwhile(
    database: Database, first: Step, second: Step, refusal: type[Exception] = ConflictError
) -> None:
    """Take a step while another one is taken and not committed yet; it must be refused."""

    async def other() -> None:
        with pytest.raises(refusal):
            async with database.transaction() as session:
                await second(session)

    async with anyio.create_task_group() as tasks, database.transaction() as session:
        await first(session)
        tasks.start_soon(other)
        await anyio.sleep(0.3)  # By now it has read the row, or waits for it.


async def test_what_begins_with_a_savepoint_is_undone_with_the_rest(database):
    async def name_and_fail() -> None:
        async with database.transaction() as session:
            await organisations.named_organisation(session, "Lab", NOW)
            raise KeyError

    with pytest.raises(KeyError):
        await name_and_fail()
    async with database.transaction() as session:
        assert await organisations.list_organisations(session, 10, 0) == []


async def test_a_rotation_brings_no_key_back_that_is_being_revoked(database):
    async with database.transaction() as session:
        key = (await keys.create_key(session, KeyIn(admin=True), now=NOW, **MADE)).row.id
    await meanwhile(
        database,
        lambda session: keys.revoke_key(session, key, actor="first", now=NOW),
        lambda session: keys.rotate_key(session, key, timedelta(days=7), now=NOW, **MADE),
    )
    async with database.transaction() as session:
        row = await session.get_one(ApiKey, key)
    assert (row.revoked_at, row.replaced_by) == (NOW, None)


@pytest.mark.parametrize("first", ["revocation", "promotion"])
async def test_a_release_that_is_taken_over_during_its_revocation_is_closed(
    database, tmp_path, first
):
    store = CheckpointStore(tmp_path / "store")
    trust_in(tmp_path)
    release = point(store, put_base(store, b"base").digest, "base", now=NOW)
    context = {"actor": "test", "now": NOW}

    async def promote(session) -> None:
        await serving.take_over(session, CurrentReleases((release,), ()), {}, **context)

    async def revoke(session) -> None:
        await serving.revoke_checkpoint(session, release.checkpoint, "it leaks", **context)

    async def second() -> None:
        async with database.transaction() as session:
            await (promote if first == "revocation" else revoke)(session)

    async with anyio.create_task_group() as tasks, database.transaction() as session:
        await (revoke if first == "revocation" else promote)(session)
        tasks.start_soon(second)
        await anyio.sleep(0.3)  # By now it has read what there is, or waits.
    async with database.transaction() as session:
        (row,) = await serving.current_promotions(session)
    assert row.withdrawn_reason == "its checkpoint was revoked: it leaks"


async def after(database: Database, first: Step, second: Step) -> None:
    """Take a step while another one is taken and not committed yet; it is the last word."""

    async def other() -> None:
        async with database.transaction() as session:
            await second(session)

    async with anyio.create_task_group() as tasks, database.transaction() as session:
        await first(session)
        await session.flush()
        tasks.start_soon(other)
        await anyio.sleep(0.3)  # By now it has read what there is, or waits.


async def added(database: Database) -> str:
    """Return the id of a new person."""
    async with database.transaction() as session:
        given = PersonIn(name="P", organisation="Lab", tier="public")
        return (await people.add_person(session, given, actor="a", now=NOW)).id


async def test_a_role_that_is_taken_away_while_roles_are_given_is_gone(database):
    person = await added(database)

    def give(*roles: str) -> Step:
        return lambda session: organisations.set_roles(
            session, person, list(roles), actor="a", now=NOW
        )

    async with database.transaction() as session:
        await give("approver")(session)
    await after(database, give("approver", "operator"), give())
    async with database.transaction() as session:
        assert await organisations.roles_of(session, person) == frozenset()


async def test_who_is_suspended_while_being_reinstated_is_suspended(database):
    person = await added(database)

    def set_to(state: str) -> Step:
        change = PersonChange(state=state)
        return lambda session: person_changes.change_person(
            session, person, change, actor="a", now=NOW
        )

    async with database.transaction() as session:
        await set_to("suspended")(session)
    await after(database, set_to("active"), set_to("suspended"))
    async with database.transaction() as session:
        assert (await people.get_person(session, person)).state == "suspended"


async def test_an_organisation_that_is_suspended_while_being_verified_is_suspended(database):
    async with database.transaction() as session:
        lab = (await organisations.named_organisation(session, "Lab", NOW)).id

    def set_to(state: str) -> Step:
        change = OrganisationChange(state=state)
        return lambda session: organisations.change_organisation(
            session, lab, change, actor="a", now=NOW
        )

    async with database.transaction() as session:
        await set_to("suspended")(session)
    await after(database, set_to("verified"), set_to("suspended"))
    async with database.transaction() as session:
        assert (await organisations.get_organisation(session, lab)).state == "suspended"


async def test_what_is_unwanted_is_what_was_chosen_last(database):
    person = await added(database)

    def choose(*events: Event) -> Step:
        return lambda session: notices.set_unwanted(session, person, list(events))

    await after(database, choose(Event.GRANT_CREATED), choose(Event.GRANT_EXPIRED))
    async with database.transaction() as session:
        assert await notices.unwanted_by(session, person) == ["grant.expired"]


async def test_an_address_that_is_erased_while_it_is_confirmed_is_erased(database, settings):
    owner = Owner(await added(database))
    mail_keys = NoticeKeys(b"s" * 32, Fernet(Fernet.generate_key()))
    mailing = settings.model_copy(update={"mail_host": "x", "public_url": "https://x.example"})
    async with database.transaction() as session:
        asked = await addresses.ask_to_confirm(
            session, owner, "ada@lab.example", settings=mailing, actor="a", now=NOW
        )
        code = mail_keys.code(asked.id, "ada@lab.example", asked.nonce or "")
    await after(
        database,
        lambda session: addresses.confirm(session, asked.id, code, keys=mail_keys, now=NOW),
        lambda session: addresses.erase(session, owner, actor="a", now=LATER),
    )
    async with database.transaction() as session:
        address = await addresses.get_address(session, owner)
    assert address is not None
    assert (address.email, address.erased_at) == (None, LATER)


async def test_a_login_brings_no_address_back_that_is_being_erased(database):
    person = await added(database)

    def log_in(email: str) -> Step:
        return lambda session: addresses.take_from_issuer(session, person, email, "one", NOW)

    async with database.transaction() as session:
        await log_in("ada@lab.example")(session)
    await after(
        database,
        lambda session: addresses.erase(session, Owner(person), actor="a", now=NOW),
        log_in("new@lab.example"),
    )
    async with database.transaction() as session:
        address = await addresses.get_address(session, Owner(person))
    assert address is not None
    assert (address.email, address.erased_at) == (None, NOW)


async def test_a_grant_is_revoked_once_and_by_who_came_first(database):
    context = {"actor": "test", "now": NOW}
    async with database.transaction() as session:
        ada = PersonIn(name="Ada", organisation="o", tier="researcher")
        person = await people.add_person(session, ada, **context)
        given = GrantIn(person_id=person.id, domain="capitals", reason="r")
        grant = (await grants.create_grant(session, given, **context)).id
    await meanwhile(
        database,
        lambda session: grants.revoke_grant(session, grant, actor="first", now=NOW),
        lambda session: grants.revoke_grant(session, grant, actor="second", now=LATER),
    )
    async with database.transaction() as session:
        row = await session.get_one(Grant, grant)
    assert (row.revoked_at, row.revoked_by) == (NOW, "first")


async def test_of_two_who_name_a_new_organisation_at_once_both_are_of_it(database):
    names = []

    async def add(hold: float) -> None:
        async with database.transaction() as session:
            name = "Quite New" if hold else "QUITE  new"
            given = PersonIn(name="P", organisation=name, tier="public")
            names.append((await people.add_person(session, given, actor="a", now=NOW)).organisation)
            await anyio.sleep(hold)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(add, 0.3)
        await anyio.sleep(0.1)
        tasks.start_soon(add, 0)
    assert names == ["Quite New", "Quite New"]


async def test_of_two_first_logins_of_one_subject_at_once_both_are_one_person(database):
    issuer = IssuerSetting(
        name="one", issuer="https://one.example", organisation="Quite New", audience="api"
    )
    end = NOW.timestamp() + 60
    proof = Proof(issuer.issuer, "s", end, Assurance(issuer=issuer.issuer, acr=None))
    found = []

    async def log_in(hold: float) -> None:
        async with database.transaction() as session:
            given = LoggedIn(proof, "P", None)
            found.append(await logins.person_of(session, given, issuer, NOW))
            await anyio.sleep(hold)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log_in, 0.3)
        await anyio.sleep(0.1)
        tasks.start_soon(log_in, 0)
    assert len(found) == 2
    assert len(set(found)) == 1


async def both(database: Database, first: Step, second: Step) -> list[object]:
    """Take two steps at once, of which neither is refused; return what came of each."""
    found = []

    async def take(step: Step, hold: float) -> None:
        async with database.transaction() as session:
            found.append(await step(session))
            await anyio.sleep(hold)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, first, 0.3)
        await anyio.sleep(0.1)
        tasks.start_soon(take, second, 0)
    return found


async def named(database: Database, name: str = "P") -> str:
    """Add a person of an organisation of the same name; return their id."""
    async with database.transaction() as session:
        given = PersonIn(name=name, organisation=name, tier="public")
        return (await people.add_person(session, given, actor="a", now=NOW)).id


def publish(session: AsyncSession) -> Awaitable[Terms]:
    given = TermsIn(text="Be careful.", mandatory_from=NOW)
    return terms.publish_terms(session, given, actor="a", now=NOW)


async def test_terms_that_are_being_published_were_published_before(database):
    await meanwhile(database, publish, publish)


@pytest.mark.parametrize("days", [0, -1])
async def test_of_two_versions_of_terms_at_once_the_second_begins_after_the_first(database, days):
    """Two that begin together, or one before another, would leave open which is in force."""

    def other(session: AsyncSession) -> Awaitable[Terms]:
        given = TermsIn(text="Be bold.", mandatory_from=NOW + timedelta(days=days))
        return terms.publish_terms(session, given, actor="b", now=NOW)

    await meanwhile(database, publish, other, InvalidRequestError)
    async with database.transaction() as session:
        assert [version.actor for version in await terms.list_terms(session)] == ["a"]
        said = select(AuditEntry.actor).where(AuditEntry.tag == str(Tag.TERMS_PUBLISHED))
        assert list(await session.scalars(said)) == ["a"]


async def test_of_two_who_accept_the_same_terms_for_one_person_at_once_neither_is_refused(database):
    person_id = await named(database)
    async with database.transaction() as session:
        digest = (await publish(session)).digest

    def accept(session: AsyncSession) -> Awaitable[object]:
        return terms.accept_terms(session, digest, person_id=person_id, actor="a", now=NOW)

    await both(database, accept, accept)
    async with database.transaction() as session:
        said = select(AuditEntry.tag).where(AuditEntry.tag == str(Tag.TERMS_ACCEPTED))
        assert len((await session.scalars(said)).all()) == 1


async def test_a_ror_id_that_another_one_is_being_given_is_taken(database):
    async with database.transaction() as session:
        ids = [
            (await organisations.named_organisation(session, name, NOW)).id for name in ("A", "B")
        ]
    change = OrganisationChange(ror_id="02mhbdp94")

    def give(organisation_id: str) -> Step:
        return lambda session: organisations.change_organisation(
            session, organisation_id, change, actor="a", now=NOW
        )

    await meanwhile(database, give(ids[0]), give(ids[1]))


def take_address(person_id: str) -> Step:
    return lambda session: addresses.take_from_issuer(
        session, person_id, "p@lab.example", "https://one.example", NOW
    )


async def test_of_two_logins_at_once_that_bring_an_address_neither_is_refused(database):
    take = take_address(await named(database))
    await both(database, take, take)


async def test_an_address_that_is_being_erased_is_not_taken_over(database):
    person_id = await named(database)
    take, owner = take_address(person_id), addresses.Owner(person_id)
    async with database.transaction() as session:
        session.add(Address(id="a", person_id=person_id, pending_email="q@lab.example", nonce="n",
                            pending_until=LATER))  # fmt: skip
    await both(
        database,
        lambda session: addresses.erase(session, owner, actor="a", now=NOW),
        take,
    )
    async with database.transaction() as session:
        row = await session.get_one(Address, "a")
    assert (row.email, row.erased_at) == (None, NOW)


async def mailed_codes(database: Database) -> list[Step]:
    """Have two people asked for one mailbox; return how each shows the code.

    Two organisations list its domain, so that they share no lock of one.
    """
    keys_of_mail = NoticeKeys(b"s" * 32, Fernet(Fernet.generate_key()))
    codes = {}
    async with database.transaction() as session:
        for name in ("One", "Two"):
            given = PersonIn(name=name, organisation=name, tier="public")
            person = await people.add_person(session, given, actor="a", now=NOW)
            organisation = await organisations.named_organisation(session, name, NOW)
            organisation.mail_domains = ["lab.example"]
            row = InstitutionMail(
                id=str(uuid.uuid4()),
                person_id=person.id,
                organisation_id=organisation.id,
                email="ada@lab.example",
                mailbox=keys_of_mail.mailbox("ada@lab.example"),
                nonce="n",
                asked_at=NOW,
                expires_at=NOW + timedelta(hours=1),
                attempts=0,
            )
            session.add(row)
            codes[person.id] = institution_code(row, keys_of_mail)

    def show(person_id: str) -> Step:
        return lambda session: institution_mail.confirm(
            session,
            codes[person_id],
            member=Member("key", person_id),
            keys=keys_of_mail,
            now=NOW,
        )

    return [show(person_id) for person_id in codes]


async def test_a_mailbox_is_one_persons_also_of_two_organisations_that_list_its_domain(database):
    await meanwhile(database, *await mailed_codes(database))


async def test_of_two_who_show_one_mailbox_at_once_neither_waits_for_the_other(postgresql):
    database = Database(postgresql)
    steps, both = await mailed_codes(database), asyncio.Barrier(2)

    async def show(step: Step) -> object:
        async with database.transaction() as session:
            await session.execute(select(1))
            await both.wait()
            return await step(session)

    ends = await asyncio.gather(*(show(step) for step in steps), return_exceptions=True)
    assert {type(end) for end in ends} == {EvidenceItem, ConflictError}
    await database.close()


async def test_of_two_last_applications_at_once_one_is_begun(database):
    async with database.transaction() as session:
        given = PersonIn(name="P", organisation="Lab", tier="public")
        person = await people.add_person(session, given, actor="a", now=NOW)

    def begin(session: AsyncSession) -> Awaitable[object]:
        given = ApplicationIn(domains=["bio"], purpose="x", project="p", oversight_ref="IRB")
        return applications.create_application(
            session, given, person_id=person.id, actor="a", now=NOW
        )

    for _ in range(applications.OPEN_AT_MOST - 1):
        async with database.transaction() as session:
            await begin(session)
    await meanwhile(database, begin, begin)


async def handed_in(database: Database) -> tuple[str, dict[str, Step]]:
    """Have an application handed in; return its id, and what may happen to it at once."""
    by = {"actor": "a", "now": NOW}
    async with database.transaction() as session:
        made = [PersonIn(name=name, organisation=name, tier="public") for name in ("Ada", "Ivy")]
        ada, ivy = [(await people.add_person(session, each, **by)).id for each in made]
        await organisations.set_roles(session, ivy, ["identity_reviewer"], **by)
        (await organisations.named_organisation(session, "Ivy", NOW)).state = "verified"
        given = ApplicationIn(domains=["bio"], purpose="x", project="p", oversight_ref="IRB")
        begun = await applications.create_application(session, given, person_id=ada, **by)
    change = PersonChange(organisation="Elsewhere")

    def step(action: Action, who: str) -> Step:
        given = (begun.row.id, action, begun.version.digest, "")
        member = Member("key", who)
        return lambda session: applications.take_step(session, *given, member=member, now=NOW)

    async with database.transaction() as session:
        await step(Action.SUBMIT, ada)(session)
    return begun.row.id, {
        "move": lambda session: person_changes.change_person(session, ada, change, **by),
        "take up": step(Action.TAKE_UP, ivy),
        "withdraw": step(Action.WITHDRAW, ada),
    }


async def test_an_application_that_is_being_given_back_is_taken_up_by_nobody(database):
    application, can = await handed_in(database)
    await meanwhile(database, can["move"], can["take up"])
    async with database.transaction() as session:
        assert (await session.get_one(Application, application)).state == "returned"


async def test_an_application_that_is_being_withdrawn_is_not_given_back(database):
    application, can = await handed_in(database)

    async def move() -> None:
        async with database.transaction() as session:
            await can["move"](session)

    async with anyio.create_task_group() as tasks, database.transaction() as session:
        await can["withdraw"](session)
        tasks.start_soon(move)
        await anyio.sleep(0.3)  # By now it has read what there is, or waits.
    async with database.transaction() as session:
        assert (await session.get_one(Application, application)).state == "withdrawn"


async def test_a_subject_that_is_being_bound_is_bound_already(database):
    issuer = IssuerSetting(name="one", issuer="https://one.example", audience="api")
    async with database.transaction() as session:
        given = PersonIn(name="P", organisation="Lab", tier="public")
        person = await people.add_person(session, given, actor="a", now=NOW)

    def bind(session: AsyncSession) -> Awaitable[object]:
        given = IdentityIn(issuer="one", subject="s", person_id=person.id, label="x")
        return identities.bind_identity(session, given, issuer, actor="a", now=NOW)

    await meanwhile(database, bind, bind)


async def said(database: Database, tag: Tag) -> list[str]:
    """Return the subjects of the log's entries of a tag."""
    async with database.transaction() as session:
        query = select(AuditEntry.subject).where(AuditEntry.tag == str(tag))
        return list(await session.scalars(query.order_by(AuditEntry.seq)))


async def test_a_subject_that_is_being_unbound_is_not_unbound_once_more(database):
    person = await added(database)
    issuer = IssuerSetting(name="one", issuer="https://one.example", audience="api")
    async with database.transaction() as session:
        given = IdentityIn(issuer="one", subject="s", person_id=person, label="x")
        identity = await identities.bind_identity(session, given, issuer, actor="a", now=NOW)

    def unbind(session: AsyncSession) -> Awaitable[object]:
        return identities.unbind_identity(session, identity.id, actor="a", now=NOW)

    await meanwhile(database, unbind, unbind, NotFoundError)
    assert await said(database, Tag.IDENTITY_UNBOUND) == [identity.id]


async def granted(database: Database) -> tuple[str, str]:
    """Return the ids of a grant and of its organisation."""
    async with database.transaction() as session:
        ada = PersonIn(name="Ada", organisation="o", tier="researcher")
        person = await people.add_person(session, ada, actor="a", now=NOW)
        given = GrantIn(person_id=person.id, domain="capitals", reason="r")
        grant = await grants.create_grant(session, given, actor="a", now=NOW)
        organisation = await organisations.named_organisation(session, "o", NOW)
        return grant.id, organisation.id


@pytest.mark.parametrize("second", ["removed", "named"])
async def test_a_sponsor_who_is_being_removed_is_removed_once_or_named_again(database, second):
    grant, organisation = await granted(database)
    given = SponsorIn(organisation_id=organisation)

    def name(session: AsyncSession) -> Awaitable[object]:
        return sponsors.set_sponsor(session, grant, given, actor="a", now=NOW)

    def remove(session: AsyncSession) -> Awaitable[object]:
        return sponsors.remove_sponsor(session, grant, actor="a", now=NOW)

    async with database.transaction() as session:
        await name(session)
    if second == "removed":
        await meanwhile(database, remove, remove, NotFoundError)
        assert await said(database, Tag.SPONSOR_REMOVED) == [grant]
        return
    await after(database, remove, name)
    async with database.transaction() as session:
        assert (await sponsors.get_sponsor(session, grant)).organisation_id == organisation


async def test_an_engine_that_is_being_added_or_removed_is_so_once(database):
    url = "http://10.0.0.1:8000"
    given = EngineIn(url=url, digest="sha256:" + "0" * 64, api_key="k")
    how = {"cipher": Fernet(Fernet.generate_key()), "must_attest": False}

    def add(session: AsyncSession) -> Awaitable[object]:
        return engines.add_engine(session, given, actor="a", now=NOW, **how)

    await meanwhile(database, add, add)
    async with database.transaction() as session:
        (engine,) = await engines.list_engines(session, 10, 0)

    def remove(session: AsyncSession) -> Awaitable[object]:
        return engines.remove_engine(session, engine.id, actor="a", now=NOW)

    await meanwhile(database, remove, remove, NotFoundError)
    assert await said(database, Tag.ENGINE_REMOVED) == [engine.id]


async def test_a_checkpoint_that_is_being_revoked_is_revoked_already(database):
    digest = "sha256:" + "0" * 64

    def revoke(session: AsyncSession) -> Awaitable[object]:
        return serving.revoke_checkpoint(session, digest, "it leaks", actor="a", now=NOW)

    await meanwhile(database, revoke, revoke)
    assert await said(database, Tag.CHECKPOINT_REVOKED) == [digest]


async def test_a_session_that_is_being_ended_has_ended(database, settings):
    proof = Proof("https://one.example", "s", NOW.timestamp() + 60, Assurance("one", None))
    person = await added(database)
    async with database.transaction() as session:
        begun = await sessions.begin_session(
            session, LoggedIn(proof, "P", None), person, pepper=b"p", settings=settings, now=NOW
        )

    def end(session: AsyncSession) -> Awaitable[object]:
        return sessions.end_session(session, begun.row.id, None, actor="a", now=NOW)

    await meanwhile(database, end, end, NotFoundError)
    assert await said(database, Tag.SESSION_ENDED) == [begun.row.id]


async def with_role(database: Database, name: str, *roles: str) -> Member:
    """Return a person of a verified organisation of their own."""
    person = await named(database, name)
    async with database.transaction() as session:
        (await organisations.named_organisation(session, name, NOW)).state = "verified"
        await organisations.set_roles(session, person, list(roles), actor="a", now=NOW)
    return Member("key", person)


async def test_of_two_new_tiers_of_one_name_that_are_approved_at_once_one_is_made(database):
    one, two = [await with_role(database, name, "approver") for name in ("One", "Two")]
    proposed = []
    for priority in (1, 2):
        given = TierProposal(tier="lab", change=TierTermsIn(priority=priority), reason="r")
        async with database.transaction() as session:
            proposed.append(await tier_changes.propose(session, given, caller=one, now=NOW))

    def approve(number: int) -> Step:
        change = proposed[number]
        return lambda session: tier_changes.approve(
            session, change.id, change.digest, member=two, now=NOW
        )

    await meanwhile(database, approve(0), approve(1))
    assert await said(database, Tag.TIER_CREATED) == ["lab"]


@pytest.mark.parametrize("taken", ["who asked", "who agrees"])
@pytest.mark.parametrize("of", ["a tier", "a grant"])
async def test_who_loses_a_role_at_this_moment_is_no_longer_one_of_two(database, of, taken):
    one, two = [await with_role(database, name, "approver") for name in ("One", "Two")]
    ada = await with_role(database, "Ada")
    gone = (one if taken == "who asked" else two).person_id
    async with database.transaction() as session:
        change = PersonChange(tier="researcher")
        await person_changes.change_person(session, ada.person_id, change, actor="a", now=NOW)
        tier = TierProposal(tier="lab", change=TierTermsIn(priority=1), reason="r")
        change = await tier_changes.propose(session, tier, caller=one, now=NOW)
        given = EmergencyIn(person_id=ada.person_id, domain="bio", minutes=5, reason="r")
        opening = await breakglass.ask_for_access(session, given, member=one, now=NOW)

    def agree(session: AsyncSession) -> Awaitable[object]:
        if of == "a grant":
            return breakglass.confirm(session, opening.id, member=two, now=NOW)
        given = (change.id, change.digest)
        return tier_changes.approve(session, *given, member=two, now=NOW)

    await meanwhile(
        database,
        lambda session: organisations.set_roles(session, gone, [], actor="a", now=NOW),
        agree,
        NotPermittedError,
    )
    assert await said(database, Tag.GRANT_CREATED) == await said(database, Tag.TIER_CREATED) == []
