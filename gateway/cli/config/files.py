"""What can be said against the files that settings name: secrets, keys, certificates.

Every setting whose name ends in `_file` is looked at here.
"""

import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.cli.config.finding import Finding, problem, warning
from gateway.contents.holder import read_public
from gateway.errors import ConfigurationError
from gateway.identity.secret import MIN_BYTES
from gateway.settings import Settings

MOUNTED = Path("/run/secrets")
"""Where a container has its secrets: Compose mounts them as they are, and nobody else is there."""
SECRETS = (
    "database_password_file",
    "secret_file",
    "redis_password_file",
    "metrics_token_file",
    "mail_password_file",
)

RANDOM = ("secret_file", "key_pepper_files")
"""Those of random bytes."""


def file_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with files, or unsafe."""
    yield from _secret_files(settings)
    yield from _trust(settings)
    yield from _public_files(settings)


def secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield every file that must hold a secret, with the setting that names it."""
    for field in SECRETS:
        path = getattr(settings, field)
        if path is not None:
            yield field, path
    for path in settings.key_pepper_files.values():
        yield "key_pepper_files", path
    for engine in settings.engines:
        yield "engines", engine.api_key_file
    for issuer in settings.issuers:
        if issuer.client_secret_file is not None:
            yield "issuers", issuer.client_secret_file


def _secret_files(settings: Settings) -> Iterator[Finding]:
    if settings.secret_file is None and not settings.is_embedded:
        yield problem(
            "secret_file",
            "a database that others may share needs a secret that they share, too",
            f"write {MIN_BYTES} random bytes into a file, the same for every replica; name it.",
        )
    for field, path in secret_files(settings):
        try:
            size, mode = path.stat().st_size, path.stat().st_mode
        except OSError as error:
            yield problem(
                field, f"{path}: {error.strerror}", "write the file, or correct its name."
            )
            continue
        if not os.access(path, os.R_OK):
            yield problem(field, f"{path} cannot be read by this user", "give it to this user.")
        if size < (MIN_BYTES if field in RANDOM else 1):
            yield problem(field, f"{path} has {size} bytes", "write the secret into it.")
        if stat.S_IMODE(mode) & 0o007 and not path.is_relative_to(MOUNTED):
            yield warning(field, f"everybody can read {path}", "chmod o= it.")


def _trust(settings: Settings) -> Iterator[Finding]:
    path = settings.trust_file or settings.home / "trust" / "keys.json"
    if not path.is_file():
        yield warning(
            "trust_file",
            f"{path} is not there, so no release counts and nothing is served",
            "airlock trust init, and docs/release.md.",
        )
    elif path.stat().st_mode & 0o022:
        yield problem("trust_file", f"others can write {path}", "chmod go-w it.")


def _public_files(settings: Settings) -> Iterator[Finding]:
    if settings.contents_key_file is not None:
        try:
            read_public(settings.contents_key_file)
        except ConfigurationError as error:
            yield problem(
                "contents_key_file", str(error), "name the holder's public key (docs/contents.md)."
            )
    if settings.mail_ca_file is not None:
        try:
            ssl.create_default_context(cafile=settings.mail_ca_file)
        except OSError as error:
            yield problem(
                "mail_ca_file",
                f"{settings.mail_ca_file}: {error.strerror or error}",
                "name a file of certificates (PEM), or leave this out.",
            )
