"""The shapes of the verification workflow: organisations, evidence, terms, applications."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from gateway.controlplane.schemas import DigestText, GrantOut, In, Name, Out, Reason, Text
from gateway.policy.evidence import AssertedBy, EvidenceKind
from gateway.policy.mail_domains import is_free_mail, normal_domain

Long = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
RoleText = Annotated[
    str,
    StringConstraints(
        pattern=r"^(identity_reviewer|approver|auditor|administrator|operator|"
        r"domain_reviewer:[a-z0-9][a-z0-9._-]{0,62})$"
    ),
]


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("every domain once")
    return sorted(values)


Domains = Annotated[list[Name], Field(min_length=1, max_length=8), AfterValidator(_distinct)]


def _once_each(values: list[str]) -> list[str]:
    return sorted(set(values))


def _mail_domain(value: str) -> str:
    domain = normal_domain(value)
    if is_free_mail(domain):
        raise ValueError("anybody gets an address of this domain, so it is no organisation's")
    return domain


MailDomain = Annotated[str, StringConstraints(max_length=253), AfterValidator(_mail_domain)]


class OrganisationChange(In):
    """What to change of an organisation."""

    state: Literal["verified", "suspended"] | None = None
    ror_id: Annotated[str, StringConstraints(pattern=r"^0[a-z0-9]{8}$")] | None = None
    mail_domains: Annotated[list[MailDomain], AfterValidator(_once_each)] | None = Field(
        None,
        max_length=50,
        description="Of its people's e-mail addresses, sub-domains by name too; replaces what was.",
    )


class OrganisationOut(Out):
    """An organisation."""

    id: str
    name: str
    state: str
    ror_id: str | None
    mail_domains: list[str]
    created_at: datetime


class RolesIn(In):
    """What a person is trusted to do; replaces what was before."""

    roles: list[RoleText] = Field(max_length=32)

    @field_validator("roles")
    @classmethod
    def _auditor_is_nothing_else(cls, value: list[str]) -> list[str]:
        """Refuse an auditor who would judge what they look at."""
        if "auditor" in value and len(set(value)) > 1:
            raise ValueError("an auditor has no other role")
        return value


class RolesOut(Out):
    """What a person is trusted to do."""

    person_id: str
    roles: list[str]


class EvidenceIn(In):
    """Evidence about oneself; training and approval letters are for one domain."""

    kind: EvidenceKind
    domain: Name | None = None
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
    document_digest: DigestText | None = None


class EvidenceAcceptance(In):
    """Who asserted it and how long it holds, as the reviewer found."""

    asserted_by: AssertedBy
    asserted_at: datetime
    expires_at: datetime
    no_conflict: Literal[True] = Field(description="That the reviewer has no other interest.")


class EvidenceOut(Out):
    """Evidence about a person."""

    id: str
    person_id: str
    kind: str
    domain: str | None
    source: str
    document_digest: str | None
    created_at: datetime
    asserted_by: str
    asserted_at: datetime | None
    accepted_by: str | None
    accepted_at: datetime | None
    expires_at: datetime | None
    retracted_by: str | None
    retracted_at: datetime | None


class TermsIn(In):
    """A new version of the terms of use."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
    mandatory_from: datetime = Field(description="Grants of those who have not accepted end then.")


class TermsOut(Out):
    """A version of the terms of use."""

    digest: str
    text: str
    mandatory_from: datetime
    actor: str
    created_at: datetime


class TermsAcceptanceOut(Out):
    """That a person has accepted a version."""

    person_id: str
    digest: str
    accepted_at: datetime


class ApplicationIn(In):
    """What is applied for; one grant will be made for each domain."""

    domains: Domains
    purpose: Long
    project: Text
    oversight_ref: Text = Field(description="Of the ethics or biosafety committee.")
    days: int = Field(90, ge=1, le=366)


class ApplicationEdit(ApplicationIn):
    """What is applied for instead."""

    digest: DigestText = Field(description="Of the version that is replaced.")


class StepIn(In):
    """A step of the applicant, or the taking up by a reviewer."""

    digest: DigestText = Field(description="Of the version that was looked at.")


class JudgementIn(StepIn):
    """A reviewer's or approver's word."""

    decision: Literal["pass", "approve", "return", "reject"]
    rationale: Long
    no_conflict: Literal[True] = Field(description="That the reviewer has no other interest.")


class AcceptanceIn(StepIn):
    """The last step: the terms of use are accepted and the grants are made."""

    terms: DigestText


class StatementOut(Out):
    """What was said of a version; `digest` is empty where it was against the application."""

    person_id: str
    organisation: str
    kind: str
    domain: str | None
    decision: str
    digest: str
    round: int
    expert: bool
    rationale: str
    created_at: datetime


class ApplicationOut(Out):
    """An application."""

    id: str
    person_id: str
    name: str = Field(description="The applicant's.")
    organisation: str
    state: str = Field(description="Also `lapsed`, when nothing has happened for 30 days.")
    since: datetime
    lapses_at: datetime | None
    round: int = Field(description="2 after the appeal.")
    version: int
    digest: str
    domains: list[str]
    purpose: str
    project: str
    oversight_ref: str
    days: int
    created_at: datetime
    statements: list[StatementOut]
    grants: list[GrantOut]


class SuspensionIn(In):
    """Why a grant is suspended."""

    reason: Reason


class UsageReviewIn(In):
    """The outcome of a review of a grant's use; `revoke` and `suspend` take effect at once."""

    outcome: Literal["continue", "suspend", "revoke"]
    rationale: Reason


class GroundOut(Out):
    """What one row contributes to a decision."""

    row: str
    says: str


class ExplanationOut(Out):
    """A decision and its grounds."""

    effect: Literal["allow", "deny"]
    rule: str = Field(description="Which rule decided.")
    served: str | None = Field(description="The alias that answers.")
    missing: list[str] = Field(description="The domains for which a grant is missing.")
    grounds: list[GroundOut]
