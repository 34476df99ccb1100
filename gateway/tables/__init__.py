"""SQL rows, one module for each aggregate; importing this package registers them all."""

from gateway.tables.applications import Application, ApplicationStatement, ApplicationVersion
from gateway.tables.audit import AuditCheckpoint, AuditEntry, AuditHead, AuditNode
from gateway.tables.batches import Batch, StoredFile
from gateway.tables.breakglass import Closure, Opening
from gateway.tables.contacts import Address, InstitutionMail, Sponsor
from gateway.tables.contents import ContentDestruction, ContentKey, ContentOpening, KeptContent
from gateway.tables.idempotency import IdempotentRequest
from gateway.tables.keys import ApiKey
from gateway.tables.metadata import Base
from gateway.tables.notices import Notice, UnwantedNotice, Webhook
from gateway.tables.organisations import Organisation, PersonRole
from gateway.tables.people import Grant, Identity, Person, Tier
from gateway.tables.serving import (
    AuthorizationChange,
    AuthorizationVersion,
    Engine,
    Promotion,
    Revocation,
)
from gateway.tables.sessions import FirstAdministratorCode, LoginSession
from gateway.tables.tier_changes import TierChange
from gateway.tables.verification import EvidenceItem, Terms, TermsAcceptance

__all__ = [
    "Address",
    "ApiKey",
    "Application",
    "ApplicationStatement",
    "ApplicationVersion",
    "AuditCheckpoint",
    "AuditEntry",
    "AuditHead",
    "AuditNode",
    "AuthorizationChange",
    "AuthorizationVersion",
    "Base",
    "Batch",
    "Closure",
    "ContentDestruction",
    "ContentKey",
    "ContentOpening",
    "Engine",
    "EvidenceItem",
    "FirstAdministratorCode",
    "Grant",
    "IdempotentRequest",
    "Identity",
    "InstitutionMail",
    "KeptContent",
    "LoginSession",
    "Notice",
    "Opening",
    "Organisation",
    "Person",
    "PersonRole",
    "Promotion",
    "Revocation",
    "Sponsor",
    "StoredFile",
    "Terms",
    "TermsAcceptance",
    "Tier",
    "TierChange",
    "UnwantedNotice",
    "Webhook",
]
