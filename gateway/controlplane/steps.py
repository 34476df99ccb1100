"""Whether somebody may take a step of the admin API: the one decision, over HTTP and on a terminal.

A step has the name of its route. Who may is in `permissions`, what a key needs for it in `scopes`;
here are the order in which they are asked, and which steps wait for a fresh and strong login. Who
is calling, and from where, is found out before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.organisations import roles_of
from gateway.controlplane.permissions import (
    ADMINISTRATORS,
    PEOPLE,
    Who,
    is_partly_writable,
    only_restricts,
    refusal,
    unwritable,
)
from gateway.controlplane.scopes import check_scope, scope_of
from gateway.errors import InvalidKeyError, NotPermittedError
from gateway.identity.principal import Administrator, Member, maker_of
from gateway.identity.proof import TERMINAL, Assurance
from gateway.identity.tier_terms import step_up
from gateway.identity_errors import StepUpRequiredError
from gateway.policy.approval import Duty
from gateway.policy.grants import UNMET, StepUp
from gateway.policy.scopes import Scope
from gateway.settings import Settings
from gateway.tables import Person, Tier

AT_ANY_AGE = frozenset(
    {
        ("DELETE", "/identities/{identity_id}"),
        ("DELETE", "/engines/{engine_id}"),
        ("POST", "/tier-changes"),
        ("POST", "/tier-changes/{change_id}/withdraw"),
        ("POST", "/me/first-administrator"),
        ("POST", "/terms/{digest}/accept"),
        ("POST", "/evidence"),
        ("POST", "/applications"),
        ("PUT", "/applications/{application_id}"),
        ("POST", "/applications/{application_id}/submit"),
        ("POST", "/applications/{application_id}/withdraw"),
        ("POST", "/applications/{application_id}/appeal"),
        ("POST", "/applications/{application_id}/grants"),
        ("DELETE", "/me/address"),
        ("POST", "/me/institution-mail"),
        ("POST", "/me/institution-mail/confirm"),
        ("PUT", "/me/unwanted-notices"),
        ("POST", "/me/visas"),
        ("DELETE", "/people/{person_id}/address"),
        ("DELETE", "/organisations/{organisation_id}/contact"),
        ("DELETE", "/grants/{grant_id}/sponsor"),
        ("POST", "/notices/{notice_id}/resend"),
    }
)
"""The changes that wait for no login: what a second person decides on, what takes only away. A new
route waits until it is listed; what restricts never waits, and reading does not."""


@dataclass(frozen=True)
class Step:
    """A step that somebody would take, by its route under `/admin/v1`."""

    method: str
    path: str
    body: Mapping[str, object] = field(default_factory=dict)
    """What they send; only for a route of which some may write a part."""


async def admit(
    session: AsyncSession,
    caller: Administrator | Member,
    step: Step,
    settings: Settings,
    now: datetime,
) -> frozenset[Who]:
    """Let somebody take a step, as the returned.

    Raises:
        NotPermittedError: It is not for them, or not what they would write.
        InvalidKeyError: It is a person's own step, and an administrator's key is nobody's.
        InsufficientScopeError: The key does not cover it.
        StepUpRequiredError: The login is too weak for it, or too long ago.
    """
    who = await duties(session, caller)
    refused = refusal(step.method, step.path, who)
    if refused is not None and isinstance(caller, Administrator):
        raise InvalidKeyError  # A step of a person's own takes that person's key.
    if refused is not None:
        raise NotPermittedError(f"Not permitted: {refused}.")
    wrong = unwritable(step.method, step.path, who, step.body)
    if wrong is not None:
        raise NotPermittedError(f"Not permitted: '{wrong}' is not yours to set so.")
    needed = scope_of(step.method, step.path)
    if only_restricts(step.method, step.path, step.body):
        needed = Scope.RESTRICT
    check_scope(caller.rights, needed)
    if needed is not Scope.RESTRICT and waits(step.method, step.path):
        await _demand_step_up(session, caller, settings, now)
    return who


def waits(method: str, path: str) -> bool:
    """Whether a step waits for a fresh and strong login, unless it only restricts."""
    return method != "GET" and (method, path) not in AT_ANY_AGE


def only_ends(step: Step) -> bool:
    """Whether a step ends something and does nothing else: it revokes, suspends or closes.

    Not the narrowing of a key, which may be done over and over.
    """
    if step.method == "PATCH":
        return only_restricts(step.method, step.path, step.body)
    return scope_of(step.method, step.path) is Scope.RESTRICT


def may_end(method: str, path: str) -> bool:
    """Whether there are such steps of a route, perhaps beside others."""
    return is_partly_writable(method, path) or only_ends(Step(method, path))


async def duties(session: AsyncSession, caller: Administrator | Member) -> frozenset[Who]:
    """Return what somebody is let in as; an auditor is nothing else, and so changes nothing."""
    if caller.person_id is None:
        return ADMINISTRATORS
    held = frozenset(role.duty for role in await roles_of(session, caller.person_id))
    return frozenset({Duty.AUDITOR}) if Duty.AUDITOR in held else held | PEOPLE


async def _demand_step_up(
    session: AsyncSession, caller: Administrator | Member, settings: Settings, now: datetime
) -> None:
    """Let nobody pass whose login is too weak or too long ago, or who proved nothing.

    A key stands for the login that it was made in, of whoever made it, and grows old with it.
    """
    proof = maker_of(caller).proof
    wanted = [_demand_of(settings, proof)]
    query = select(Tier.step_up).join(Person, Person.tier == Tier.name)
    query = query.where(Person.id == (caller.person_id or ""))
    if (tiers := step_up(await session.scalar(query))) is not None:
        wanted.append(tiers)
    for demand in wanted:
        if proof is None or not proof.meets(demand.acr, demand.max_age, now.timestamp()):
            raise StepUpRequiredError(demand.acr, demand.max_age)


def _demand_of(settings: Settings, proof: Assurance | None) -> StepUp:
    """Return what is asked of proofs by an issuer; of one that is not known any more, the most."""
    if proof is not None and proof.issuer == TERMINAL:
        return StepUp((), settings.terminal_key_seconds)
    demands = {
        one.issuer: StepUp(one.step_up_acr, one.step_up_max_age_seconds) for one in settings.issuers
    }
    if proof is not None:
        return demands.get(proof.issuer, UNMET)
    # Nothing is proven, so nothing is enough; a client is told what one of the issuers asks for.
    return next(iter(demands.values()), StepUp((), settings.terminal_key_seconds))
