"""The audit log's signing key: derived from the gateway's secret, so that replicas share it."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit.checkpoint import LOG, SignerKey
from gateway.identity.secret import Secret
from gateway.settings import Settings


def log_signer(settings: Settings, secret: Secret) -> SignerKey:
    """Return the key that signs the log's checkpoints."""
    private = Ed25519PrivateKey.from_private_bytes(secret.derive("audit-log/1"))
    return SignerKey(settings.audit_origin, LOG, private)
