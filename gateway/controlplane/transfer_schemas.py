"""The shapes of transfers: one line for each person, and what an import did with it."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from gateway.controlplane.schemas import DigestText, In, Name, OrganisationName, Text
from gateway.controlplane.verification_schemas import Long, RoleText
from gateway.policy.evidence import AssertedBy, EvidenceKind
from gateway.setting_types import MailAddress

FORM: Final = "airlock.person/1"
MOST = 1000
"""Of one person's identities, with those of their services, roles, evidence or grants."""


class IdentityRecord(In):
    """Whom an issuer means: the person, or with domains a service of theirs."""

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    subject: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    domains: list[Name] | None = None


class EvidenceRecord(In):
    """What a reviewer had accepted."""

    kind: EvidenceKind
    domain: Name | None = None
    source: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    document_digest: DigestText | None = None
    asserted_by: AssertedBy
    asserted_at: datetime
    expires_at: datetime


class AppliedRecord(In):
    """What a grant was applied for with."""

    purpose: Long
    project: Text
    oversight_ref: Text


class GrantRecord(In):
    """A grant that is neither revoked nor over."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=36)]
    domain: Name
    not_before: datetime
    expires_at: datetime
    approved_by: Annotated[str, StringConstraints(max_length=200)]
    application: AppliedRecord | None = Field(description="None where an administrator made it.")


class PersonRecord(In):
    """One person, as one line of JSON."""

    record: Literal["airlock.person/1"]
    name: Text
    organisation: OrganisationName
    tier: Name
    state: Literal["active", "suspended"]
    roles: list[RoleText] = Field(default_factory=list, max_length=MOST)
    email: MailAddress | None = None
    identities: list[IdentityRecord] = Field(default_factory=list, max_length=MOST)
    evidence: list[EvidenceRecord] = Field(default_factory=list, max_length=MOST)
    grants: list[GrantRecord] = Field(default_factory=list, max_length=MOST)


class LineOut(In):
    """What became of one line."""

    line: int
    person_id: str | None
    outcome: Literal["made", "changed", "unchanged", "refused"]
    did: list[str] = Field(description="What was done, or would be.")
    left: list[str] = Field(description="What of the line was left out, and why.")


class ImportOut(In):
    """What became of every line."""

    dry_run: bool
    made: int
    changed: int
    unchanged: int
    refused: int
    lines: list[LineOut]


class VisasIn(In):
    """Visas as their issuers have signed them (a passport's `ga4gh_passport_v1`)."""

    visas: list[Annotated[str, StringConstraints(min_length=1, max_length=8192)]] = Field(
        min_length=1, max_length=32
    )


class VisaOut(In):
    """What became of one visa, in the order in which they came."""

    outcome: Literal["added", "known", "used", "refused"]
    reason: str | None = None
    type: str | None = None
    evidence_id: str | None = None
    kind: str | None = None
    domain: str | None = None
    asserted_by: str | None = None
    expires_at: datetime | None = None
    verifies: list[str] = Field(
        default_factory=list, description="What it verifies once a reviewer has accepted it."
    )


class PassportOut(In):
    """Signed visas of grants."""

    visas: list[str]
    expires_at: datetime = Field(description="None of them holds for longer.")
