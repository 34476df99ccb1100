"""The holder's pair of keys: the public one is a gateway's, the private one never comes near it."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from gateway.errors import ConfigurationError


def make_holder(path: Path, passphrase: bytes | None) -> str:
    """Write a new private key, for its owner's eyes only; return the public one as PEM.

    Raises:
        ConfigurationError: There is a file already.
    """
    private = X25519PrivateKey.generate()
    protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as out:
        out.write(pem)
    public = private.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def read_public(path: Path) -> X25519PublicKey:
    """Read what a gateway seals to.

    Raises:
        ConfigurationError: It is no public key of the right kind; a private one is refused.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path} is no public key of `airlock contents keygen`") from error
    if not isinstance(key, X25519PublicKey):
        raise ConfigurationError(f"{path} is a public key of another kind than X25519")
    return key


def read_private(path: Path, passphrase: bytes | None) -> X25519PrivateKey:
    """Read the holder's key, on the holder's machine.

    Raises:
        ConfigurationError: It cannot be read, or is of another kind.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path}: no private key, or another passphrase") from error
    if not isinstance(key, X25519PrivateKey):
        raise ConfigurationError(f"{path} is a private key of another kind than X25519")
    return key
