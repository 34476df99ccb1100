"""SQL rows, one module for each aggregate; importing this package registers them all."""

from gateway.tables.applications import Application, ApplicationStatement, ApplicationVersion
from gateway.tables.audit import AuditCheckpoint, AuditEntry, AuditHead, AuditNode
from gateway.tables.batches import Batch, StoredFile
from gateway.tables.breakglass import Closure, Opening
from gateway.tables.contents import ContentKey, ContentOpening, KeptContent
from gateway.tables.idempotency import IdempotentRequest
from gateway.tables.metadata import Base
from gateway.tables.organisations import Organisation, PersonRole
from gateway.tables.people import ApiKey, Grant, Identity, Person, Tier
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
    "ContentKey",
    "ContentOpening",
    "Engine",
    "EvidenceItem",
    "FirstAdministratorCode",
    "Grant",
    "IdempotentRequest",
    "Identity",
    "KeptContent",
    "LoginSession",
    "Opening",
    "Organisation",
    "Person",
    "PersonRole",
    "Promotion",
    "Revocation",
    "StoredFile",
    "Terms",
    "TermsAcceptance",
    "Tier",
    "TierChange",
]
