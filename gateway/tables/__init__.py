"""SQL rows, one module for each aggregate; importing this package registers them all."""

from gateway.tables.audit import AuditCheckpoint, AuditEntry, AuditHead, AuditNode
from gateway.tables.metadata import Base
from gateway.tables.people import ApiKey, Grant, Person, Tier
from gateway.tables.serving import AuthorizationVersion, Engine, Promotion, Revocation

__all__ = [
    "ApiKey",
    "AuditCheckpoint",
    "AuditEntry",
    "AuditHead",
    "AuditNode",
    "AuthorizationVersion",
    "Base",
    "Engine",
    "Grant",
    "Person",
    "Promotion",
    "Revocation",
    "Tier",
]
