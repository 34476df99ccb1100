"""What a new key may be: never more than its owner may do, nor than whoever makes it can give."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.key_schemas import KeyIn, KeyTermsIn
from gateway.errors import InvalidRequestError
from gateway.identity.api_keys import Kind
from gateway.identity.grant_terms import load_grants
from gateway.identity.principal import KeyRights, Maker
from gateway.identity_errors import InsufficientScopeError
from gateway.policy.key_terms import last_end, not_held
from gateway.policy.scopes import OF_ADMINISTRATORS, OF_WORKFLOW, Scope

A_DAY = timedelta(days=1)
LASTS: Mapping[Kind, timedelta | None] = {
    "key": None,
    "workflow": A_DAY,
    "admin": A_DAY,
}
"""How long a key lasts, unless it is said."""
LASTS_AT_MOST = timedelta(days=366)
LONGEST_OVERLAP = timedelta(days=7)
OF_CALLERS = (
    "endpoints",
    "domains",
    "requests_per_minute",
    "tokens_per_minute",
    "tokens_per_day",
    "max_concurrent",
)
OF_PEOPLE = frozenset({Scope.APPLY, Scope.REVIEW, Scope.EMERGENCY, Scope.CONTENTS})


def kind_of(given: KeyIn) -> Kind:
    """Return the kind of key that is asked for.

    Raises:
        InvalidRequestError: What is asked for does not go together.
    """
    if given.admin == (given.person_id is not None):
        raise InvalidRequestError(
            "A caller's key belongs to a person, an administrator's to none.", "person_id"
        )
    if given.admin and given.workflow:
        raise InvalidRequestError("An administrator's key takes no part.", "workflow")
    kind: Kind = "admin" if given.admin else "workflow" if given.workflow else "key"
    check_parts(kind, given)
    return kind


def check_parts(kind: Kind, given: KeyTermsIn) -> None:
    """Refuse terms that keys of a kind have not.

    Raises:
        InvalidRequestError: There is one.
    """
    if kind == "key" and given.scopes is not None:
        raise InvalidRequestError("A caller's key has endpoints and domains instead.", "scopes")
    wrong = [name for name in OF_CALLERS if getattr(given, name) is not None]
    if kind != "key" and wrong:
        raise InvalidRequestError("Only a key that asks models is narrowed so.", wrong[0])


def scopes_of(kind: Kind, wanted: frozenset[Scope] | None, maker: Maker) -> list[str] | None:
    """Return the scopes of a new key; None for one that asks models.

    Raises:
        InvalidRequestError: No key of the kind has one of them.
        InsufficientScopeError: The key that makes it cannot give one of them.
    """
    if kind == "key":
        return None
    default = OF_ADMINISTRATORS if kind == "admin" else OF_WORKFLOW
    chosen = default if wanted is None else wanted
    if kind == "admin" and chosen - OF_ADMINISTRATORS:
        raise InvalidRequestError("An administrator's key takes no step of a person's.", "scopes")
    if maker.rights is not None:
        beyond = sorted(chosen - _givable(maker.rights))
        if beyond:
            raise InsufficientScopeError(str(beyond[0]))
    return sorted(str(scope) for scope in chosen)


def _givable(rights: KeyRights) -> frozenset[Scope]:
    """Return what a key can give on; who gives roles and binds logins can be anybody anyhow."""
    if {Scope.KEYS, Scope.PEOPLE} <= rights.scopes:
        return rights.scopes | OF_PEOPLE
    return rights.scopes


async def check_domains(
    session: AsyncSession, person_id: str | None, domains: list[str] | None, now: datetime
) -> None:
    """Refuse a key for domains that its owner has no grant for.

    Raises:
        InvalidRequestError: There is one.
    """
    if not domains or person_id is None:
        return
    grants = (await load_grants(session, {person_id})).get(person_id, ())
    if missing := not_held(grants, domains, now):
        raise InvalidRequestError(f"Its owner has no grant for {', '.join(missing)}.", "domains")


async def latest_end(
    session: AsyncSession,
    kind: Kind,
    person_id: str | None,
    domains: list[str] | None,
    maker: Maker,
    now: datetime,
) -> datetime | None:
    """Return when a new key must have ended; None for never.

    A key that reaches a base checkpoint ends with the first grant that it uses, one for the admin
    API within a year, and one that another key makes with that key.
    """
    if kind == "key":
        grants = (await load_grants(session, {person_id or ""})).get(person_id or "", ())
        return last_end(grants, None if domains is None else frozenset(domains), now)
    latest = now + LASTS_AT_MOST
    if maker.rights is not None:
        latest = min(latest, maker.rights.expires_at or now + A_DAY)
    return latest


def expiry_of(
    days: int | None, usual: timedelta | None, latest: datetime | None, now: datetime
) -> datetime | None:
    """Return when a new key expires; None for never.

    Args:
        days: As was asked for; None for as long as is usual.
        usual: How long that is; None for as long as may be.
        latest: When it must have ended.
        now: The moment.

    Raises:
        InvalidRequestError: It would outlive what it rests on.
    """
    if days is None:
        ends = (None if usual is None else now + usual, latest)
        return min((each for each in ends if each is not None), default=None)
    wanted = now + timedelta(days=days)
    if latest is not None and wanted > latest:
        raise InvalidRequestError(
            f"It would outlive what it rests on, which ends at {latest.isoformat()}; leave 'days' "
            "out, and it ends with that.",
            "days",
        )
    return wanted
