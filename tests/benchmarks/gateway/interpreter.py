"""Which interpreter runs the Python programs that are measured, Airlock and peers alike.

Debian's, and those of Python's own images, are built with profile-guided optimisation; what pyenv
builds by default is not, and takes a seventh more CPU for the same. Programs in Rust and C come
optimised, so those in Python are run by an interpreter that is, where the machine has one of this
one's version; else by this one, and the figures say so.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ASK = (
    "import json, platform, sysconfig;"
    "print(json.dumps([platform.python_version(), sysconfig.get_config_var('CONFIG_ARGS') or '']))"
)


@dataclass(frozen=True)
class Interpreter:
    """One, and how it was built."""

    path: str
    version: str
    is_optimised: bool

    def __str__(self) -> str:
        how = "with" if self.is_optimised else "without"
        return f"Python {self.version}, built {how} profile-guided optimisation"

    def environment(self, packages: str) -> dict[str, str]:
        """What it needs to run with the packages of a folder, which another one has installed."""
        return os.environ | {"PYTHONPATH": packages}


def interpreter_at(path: str) -> Interpreter:
    """Ask one how it was built."""
    asked = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=True)
    version, arguments = json.loads(asked.stdout)
    return Interpreter(path, version, "--enable-optimizations" in arguments)


def best() -> Interpreter:
    """The first that is optimised: of this one, and those of its version that the machine has."""
    ours = interpreter_at(sys.executable)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = [shutil.which(name, path=folder) for folder in os.get_exec_path()]
    others = (interpreter_at(place) for place in dict.fromkeys(filter(None, places)))
    return next((one for one in (ours, *others) if one.is_optimised), ours)


def packages_of(prefix: Path) -> str:
    """The folder of an environment's packages."""
    return sysconfig.get_path("purelib", vars={"base": str(prefix), "platbase": str(prefix)})
