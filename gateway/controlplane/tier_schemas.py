"""The shapes of tiers, of their changes, and of what a change would do to whom."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator

from gateway.controlplane.schemas import DigestText, In, Name, Out, Reason, Text
from gateway.policy.capabilities import Capability
from gateway.policy.evidence import AssertedBy, Verification

Acr = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]
Sources = Annotated[list[AssertedBy], Field(min_length=1, max_length=6)]
LogLevel = Literal["base", "all", "contents"]
EVERYBODYS: dict[Verification, list[AssertedBy]] = {
    Verification.AFFILIATION: [AssertedBy.PEER, AssertedBy.SIGNING_OFFICIAL, AssertedBy.SYSTEM],
    Verification.IDENTITY: [AssertedBy.ACCESS_COMMITTEE, AssertedBy.SYSTEM],
    Verification.OVERSIGHT: [AssertedBy.SIGNING_OFFICIAL],
    Verification.TRAINING: [AssertedBy.SIGNING_OFFICIAL, AssertedBy.SYSTEM],
}
"""What a new tier requires unless it says otherwise: everything, by any word that counts."""


class StepUp(In):
    """What a login must have been like for what weighs more."""

    acr: list[Acr] = Field(max_length=10, description="Any of these contexts; [] for whichever.")
    max_age: int = Field(ge=0, le=2_592_000, description="Seconds since the login, at most.")


class TierTermsIn(In):
    """What to put into a tier; what is left out stays, or is the default of a new one."""

    description: Text | None = None
    grantable: bool | None = Field(None, description="Whether grants count for its members.")
    capabilities: list[Capability] | None = Field(
        None, description="What members may ask for beyond a plain answer.", max_length=32
    )
    priority: int | None = Field(
        None, ge=-100, le=100, description="Whose requests an engine takes first: the higher."
    )
    max_grant_days: int | None = Field(
        None, ge=1, le=366, description="No grant of a member counts for longer."
    )
    requests_per_minute: int | None = Field(None, ge=1, le=1_000_000)
    tokens_per_minute: int | None = Field(None, ge=1, le=2_000_000_000)
    tokens_per_day: int | None = Field(None, ge=1, le=2_000_000_000)
    max_concurrent: int | None = Field(None, ge=1, le=100_000, description="Requests at a time.")
    organisation_multiple: int | None = Field(
        None, ge=1, le=10_000, description="What an organisation may use, in members' shares."
    )
    verifications: dict[Verification, Sources] | None = Field(
        None, description="What a grant needs verified, and whose word counts for each."
    )
    log_level: LogLevel | None = Field(
        None,
        description="Which requests the audit log has; `contents` keeps those to a base.",
    )
    step_up: StepUp | None = Field(
        None, description="Given as null it takes the demand away; left out it stays."
    )

    @field_validator("verifications")
    @classmethod
    def _knows_who_it_is(
        cls, value: dict[Verification, list[AssertedBy]] | None
    ) -> dict[Verification, list[AssertedBy]] | None:
        """Refuse grants for people whom nobody has identified."""
        if value is not None and Verification.IDENTITY not in value:
            raise ValueError("identity is always verified")
        return value

    def given(self) -> dict[str, object]:
        """Return what was given, as the tier's row and its history keep it."""
        fields = self.model_dump(mode="json", exclude_unset=True)
        if fields.get("capabilities") is not None:
            fields["capabilities"] = sorted(set(fields["capabilities"]))
        if fields.get("verifications") is not None:
            asked = fields["verifications"]
            fields["verifications"] = {name: sorted(set(asked[name])) for name in sorted(asked)}
        # Only the demand on logins may be taken away; null says nothing of any other field.
        return {n: value for n, value in fields.items() if value is not None or n == "step_up"}


NEW_TIER = TierTermsIn(
    description="A new tier",
    grantable=False,
    capabilities=[],
    priority=0,
    max_grant_days=90,
    requests_per_minute=120,
    tokens_per_minute=100_000,
    tokens_per_day=10_000_000,
    max_concurrent=64,
    organisation_multiple=10,
    verifications=EVERYBODYS,
    log_level="base",
    step_up=None,
)
"""What a new tier is before its proposal says otherwise."""


class TierProposal(In):
    """A change of a tier, or a new one."""

    tier: Name
    change: TierTermsIn
    reason: Reason


class TierApproval(In):
    """Approve what was looked at."""

    digest: DigestText


class TierOut(Out):
    """A tier, as it is in force."""

    name: str
    version: int
    description: str
    grantable: bool
    capabilities: list[str]
    priority: int
    max_grant_days: int
    requests_per_minute: int
    tokens_per_minute: int
    tokens_per_day: int
    max_concurrent: int
    organisation_multiple: int
    verifications: dict[str, list[str]]
    log_level: str
    step_up: dict[str, object] | None


class TierChangeOut(Out):
    """A change of a tier; `version` is what it became, if it did."""

    id: str
    tier: str
    base_version: int
    digest: str
    takes_two: bool
    reason: str
    proposed_by: str
    proposed_at: datetime
    approved_by: str | None
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    version: int | None
    in_force_at: datetime | None
    terms: dict[str, object]


class DifferenceOut(Out):
    """One field, before and after."""

    field: str
    before: object
    after: object
    direction: Literal["permits", "restricts", "neither"]


class GrantEffectOut(Out):
    """What becomes of one grant."""

    id: str
    domain: str
    state_before: str
    state_after: str
    ends_before: datetime
    ends_after: datetime


class MemberEffectOut(Out):
    """What becomes of one member."""

    person_id: str
    name: str
    organisation: str
    gains: list[str] = Field(description="Hazard domains that open.")
    loses: list[str] = Field(description="Hazard domains that close.")
    grants: list[GrantEffectOut] = Field(description="Those whose state or end changes.")


class TierEffectsOut(BaseModel):
    """Who would gain or lose what, if the change were in force now."""

    tier: str
    takes_two: bool
    differences: list[DifferenceOut] = Field(description="For every member alike.")
    members: int
    people: list[MemberEffectOut] = Field(description="Members, a page of them.")


class TierProposedOut(BaseModel):
    """What a proposal would do, and the proposal itself unless it was only tried."""

    effects: TierEffectsOut
    change: TierChangeOut | None
