"""The gateway's secret: one file of random bytes, and a key for each purpose derived from it."""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.errors import ConfigurationError
from gateway.settings import Settings

MIN_BYTES = 32


class Secret:
    """Derives keys; two purposes never share one (HKDF, RFC 5869)."""

    def __init__(self, material: bytes) -> None:
        """Use `material`, at least 32 random bytes.

        Raises:
            ConfigurationError: It is too short.
        """
        if len(material) < MIN_BYTES:
            raise ConfigurationError(f"the gateway's secret has fewer than {MIN_BYTES} bytes")
        self._material = material

    def derive(self, purpose: str) -> bytes:
        """Return the 32-byte key for a purpose."""
        return HKDF(SHA256(), 32, salt=None, info=b"airlock/" + purpose.encode()).derive(
            self._material
        )


def secret_path(settings: Settings) -> Path:
    """Return where the secret is, or is to be."""
    return settings.secret_file or settings.home / "keys" / "gateway.secret"


def load_secret(settings: Settings) -> Secret:
    """Return the secret that the settings name; the embedded set-up makes its own once.

    Raises:
        ConfigurationError: There is none, and the database is not the embedded one: replicas
            that each made their own would not know each other's keys.
    """
    path = secret_path(settings)
    if not path.exists():
        if settings.secret_file is not None or not settings.is_embedded:
            raise ConfigurationError(
                f"no secret at {path}: write 32 random bytes there and name it in "
                "AIRLOCK_SECRET_FILE, the same for every replica"
            )
        _create(path)
    return Secret(path.read_bytes())


def _create(path: Path) -> None:
    """Write a new secret unless another process has done so first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(MIN_BYTES))
    try:
        os.link(scratch, path)
    except FileExistsError:
        return
    finally:
        scratch.unlink()
