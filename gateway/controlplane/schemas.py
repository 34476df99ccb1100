"""The admin API's shapes: what comes in (`*In`, `*Change`) and what goes out (`*Out`)."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from gateway.tables.organisations import KEY_AT_MOST
from models.names import name_key


def _with_a_look(name: str) -> str:
    if not 0 < len(name_key(name)) <= KEY_AT_MOST:
        raise ValueError("nothing of this name is seen, or one sign of it stands for many")
    return name


Id = Annotated[str, StringConstraints(min_length=1, max_length=36)]
"""Of a row. What has no constraint is not held to Unicode, and no database takes it then."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
OrganisationName = Annotated[Text, AfterValidator(_with_a_look)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
DigestText = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class In(BaseModel):
    """What a client sends; an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """What a client gets, read from a row."""

    model_config = ConfigDict(from_attributes=True)


class PersonIn(In):
    """A new person."""

    name: Text
    organisation: OrganisationName
    tier: Name = "public"


class PersonChange(In):
    """What to change of a person."""

    name: Text | None = None
    organisation: OrganisationName | None = Field(
        None,
        description="Another one: applications that wait come back to the person, to be edited, "
        "and evidence by mail of the one before is retracted.",
    )
    tier: Name | None = None
    state: Literal["active", "suspended"] | None = None


class PersonOut(Out):
    """A person."""

    id: str
    name: str
    organisation: str
    tier: str
    state: str
    created_at: datetime


class GrantIn(In):
    """A new grant."""

    person_id: Id
    domain: Name
    days: int = Field(90, ge=1, le=366)
    reason: Reason


class GrantOut(Out):
    """A grant."""

    id: str
    person_id: str
    domain: str
    reason: str
    approved_by: str
    created_at: datetime
    not_before: datetime
    expires_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None
    application_id: str | None = Field(description="None for a grant of an administrator.")
    usage_review_due_at: datetime | None
    suspended_at: datetime | None
    suspended_by: str | None
    suspended_reason: str | None


Address = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+$", max_length=300)]


class EngineIn(In):
    """A new engine."""

    url: Address
    digest: DigestText
    api_key: Text
    attest_url: Address | None = Field(
        None, description="Its side-car; required unless the gateway is told not to ask for it."
    )


class EngineOut(Out):
    """An engine; its key never leaves the gateway."""

    id: str
    url: str
    digest: str
    attest_url: str | None
    created_at: datetime


class RevocationIn(In):
    """End a checkpoint, at once and for ever."""

    checkpoint: DigestText
    reason: Reason


class RevocationOut(Out):
    """A checkpoint that is not served any more."""

    checkpoint: str
    reason: str
    actor: str
    created_at: datetime


class PromotionOut(Out):
    """One version of an alias."""

    family: str
    label: str
    version: int
    checkpoint: str
    hazards: list[str]
    forgets: list[str]
    release_digest: str
    profile: dict[str, object] = Field(description="How the engine runs the weights.")
    waived: list[str] = Field(description="The gate's rules that signed waivers except.")
    actor: str
    created_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None = Field(description="Since when the release does not count.")
    withdrawn_reason: str | None


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorOut(BaseModel):
    """An error, in the shape of OpenAI's API."""

    error: ErrorDetail


class AuditEventOut(Out):
    """One entry of the audit log; `id` is its number in it."""

    id: int
    at: datetime
    actor: str
    tag: str
    subject: str
    detail: dict[str, object]
