"""The peppers of API keys, by version: the newest hashes new keys, the others know those of before.

The first is derived from the gateway's secret. A later one has a file of its own, so that it can be
changed without what else rests on the secret; a key that is rotated gets the newest. A version that
is not named any more ends the keys that were hashed with it.
"""

import hmac
from collections.abc import Mapping

from gateway.errors import ConfigurationError
from gateway.identity.api_keys import ParsedKey, secret_hmac
from gateway.identity.secret import Secret
from gateway.settings import Settings

FIRST = 1
NO_HMAC = bytes(32)


class Peppers:
    """Hashes the secrets of API keys."""

    def __init__(self, by_version: Mapping[int, bytes]) -> None:
        """Use these, of 32 bytes each."""
        self._by_version = dict(by_version)
        self.version = max(by_version)
        """The newest."""
        self.newest = by_version[self.version]
        """The one that hashes new keys."""

    def hashed(self, parsed: ParsedKey) -> bytes:
        """Return what is stored of a new key, beside the newest version."""
        return secret_hmac(self.newest, parsed)

    def matches(self, parsed: ParsedKey, stored: bytes | None, version: int = FIRST) -> bool:
        """Whether a key is the one of which something is stored; None where nothing is.

        It is hashed and compared in any case, so that the time tells nothing.
        """
        pepper = self._by_version.get(version)
        hashed = secret_hmac(self.newest if pepper is None else pepper, parsed)
        is_same = hmac.compare_digest(NO_HMAC if stored is None else stored, hashed)
        return is_same and stored is not None and pepper is not None


def first_pepper(secret: Secret) -> bytes:
    """Return the first; sessions and codes are hashed with it, too."""
    return secret.derive(f"api-keys/{FIRST}")


def load_peppers(settings: Settings, secret: Secret) -> Peppers:
    """Return the peppers that the settings name, beside the first.

    Raises:
        ConfigurationError: One cannot be read, or is too short.
    """
    found = {FIRST: first_pepper(secret)}
    for version, path in settings.key_pepper_files.items():
        try:
            material = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"pepper {version} of API keys cannot be read: {error}"
            ) from error
        found[version] = Secret(material).derive(f"api-keys/{version}")
    return Peppers(found)
