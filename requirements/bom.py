"""What is installed, with its licences: the bill of materials of each plane, in CycloneDX.

    python requirements/bom.py sbom DIR       one JSON file a plane
    python requirements/bom.py licences       a table; status 1 when one is not allowed

Versions and hashes come from the locks, licences from what is installed, as `make setup` does.
"""

import re
import sys
import tomllib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from boolean.boolean import Function, ParseError, Symbol
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from license_expression import ExpressionError, get_spdx_licensing
from packageurl import PackageURL
from packaging.markers import Marker

HERE = Path(__file__).resolve().parent
PLANES = ("gateway", "engine", "unlearn", "dev")
PIN = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)(?: ; ([^\\]+))?", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
NAMESPACE = uuid.UUID("5b0a3f58-6a4b-4b9e-9d1b-0f5a52b7f1c4")
RULES = tomllib.loads((HERE / "licences.toml").read_text())
SPDX = get_spdx_licensing()


class Package(NamedTuple):
    """One line of a lock."""

    name: str
    version: str
    hashes: list[str]

    @property
    def licence(self) -> str:
        """Its licence as an SPDX expression; empty when it does not say."""
        if self.name in RULES["exceptions"]:
            return str(RULES["exceptions"][self.name]).partition(":")[0]
        said = metadata.metadata(self.name)
        if "License-Expression" in said:
            return said["License-Expression"]
        classifiers = [
            each.split(" :: ")[-1]
            for each in said.get_all("Classifier") or ()
            if each.startswith("License ::")
        ]
        written = said["License"].strip().splitlines()[:1] if "License" in said else []
        names = classifiers or written
        known = [RULES["spellings"].get(name, name) for name in names]
        return " OR ".join(name for name in known if name)

    @property
    def is_allowed(self) -> bool:
        """Whether its licence is one of those, or somebody said why it is well."""
        return self.name in RULES["exceptions"] or is_allowed(self.licence)


def packages(plane: str) -> Iterator[Package]:
    """Yield what a plane installs on this Python."""
    for block in re.split(r"\n(?=\S)", (HERE / f"{plane}.txt").read_text()):
        found = PIN.match(block)
        if found and (found[3] is None or Marker(found[3].strip()).evaluate()):
            yield Package(found[1].lower(), found[2], sorted(HASH.findall(block)))


def asked_for(plane: str) -> set[str]:
    """Return the packages that a plane names itself, the others come with these."""
    names = set()
    for line in (HERE / f"{plane}.in").read_text().splitlines():
        if line.startswith("-r "):
            names |= asked_for(line.removeprefix("-r ").removesuffix(".in").strip())
        elif found := re.match(r"[\w.-]+", line):
            names.add(found[0].lower())
    return names


def is_allowed(expression: str) -> bool:
    """Whether the rules allow an SPDX expression; what cannot be read is not allowed."""
    try:
        parsed = SPDX.parse(expression, validate=True)
    except (ExpressionError, ParseError):
        return False
    return parsed is not None and _holds(parsed)


def _holds(part: Function | Symbol) -> bool:
    if isinstance(part, SPDX.AND):
        return all(map(_holds, part.args))
    if isinstance(part, SPDX.OR):
        return any(map(_holds, part.args))
    return str(part) in RULES["allowed"]


def bill(plane: str, now: datetime) -> str:
    """Return a plane's bill of materials as CycloneDX 1.6."""
    lock = (HERE / f"{plane}.txt").read_bytes()
    bom = Bom(
        serial_number=uuid.uuid5(NAMESPACE, lock.hex()),
        components=[
            Component(
                name=each.name,
                version=each.version,
                type=ComponentType.LIBRARY,
                purl=PackageURL("pypi", name=each.name, version=each.version),
                bom_ref=f"{each.name}=={each.version}",
                licenses=[LicenseExpression(each.licence)],
                properties=[
                    Property(name="airlock:sha256", value=each_hash) for each_hash in each.hashes
                ],
            )
            for each in packages(plane)
        ],
    )
    bom.metadata.timestamp = now
    bom.metadata.component = Component(
        name=f"airlock-{plane}",
        bom_ref=f"airlock-{plane}",
        version=metadata.version("airlock"),
        type=ComponentType.APPLICATION,
        licenses=[LicenseExpression("Apache-2.0")],
    )
    wanted = asked_for(plane)
    direct = [each for each in bom.components if each.name in wanted]
    bom.register_dependency(bom.metadata.component, direct)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def main(words: list[str]) -> int:
    """Do what the words say."""
    match words:
        case ["sbom", folder]:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for plane in PLANES:
                target = Path(folder) / f"airlock-{plane}.cdx.json"
                target.write_text(bill(plane, datetime.now(UTC)))
                print(target)
            return 0
        case ["licences"]:
            wrong = 0
            for plane in PLANES:
                for each in packages(plane):
                    mark = "" if each.is_allowed else "  NOT ALLOWED"
                    wrong += not each.is_allowed
                    print(f"{plane:8} {each.name:40} {each.version:20} {each.licence}{mark}")
            return int(wrong > 0)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
