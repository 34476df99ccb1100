"""The TOML file that settings are read from, after the environment that names it."""

import os
from pathlib import Path

from pydantic_settings import BaseSettings, TomlConfigSettingsSource

from gateway.errors import ConfigurationError

CONFIG_FILE = "AIRLOCK_CONFIG_FILE"
"""The variable that names the file; the environment counts before what is in it."""


def file_of(settings: type[BaseSettings]) -> TomlConfigSettingsSource | None:
    """Return the file as a source of settings; None where none is named.

    Raises:
        ConfigurationError: It cannot be read: it may hold what closes a door.
    """
    path = os.environ.get(CONFIG_FILE)
    if path is None:
        return None
    try:
        file = TomlConfigSettingsSource(settings, Path(path))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{CONFIG_FILE}={path} is no TOML file: {error}") from error
    if not Path(path).is_file():
        raise ConfigurationError(f"{CONFIG_FILE} names {path}, which is not there")
    if "home" in file.toml_data:
        # The registry and the job have it from there, and read no gateway's settings.
        raise ConfigurationError(f"{path} names a home; use AIRLOCK_HOME, or --home")
    return file
