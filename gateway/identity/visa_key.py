"""The key that signs our visas: derived from the gateway's secret, so that replicas share it."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey

from gateway.identity.secret import Secret

# The order of P-256 (SEC 2, 2.4.2): private keys lie between 1 and one less than it.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def visa_key(secret: Secret) -> ECKey:
    """Return the key; its id is its thumbprint (RFC 7638).

    Two derived keys make 512 bits, of which the remainder is as good as evenly spread.
    """
    wide = int.from_bytes(secret.derive("visas/1/a") + secret.derive("visas/1/b"))
    private = ec.derive_private_key(wide % (ORDER - 1) + 1, ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = ECKey.import_key(pem)
    return ECKey.import_key(pem, {"kid": key.thumbprint(), "use": "sig", "alg": "ES256"})
