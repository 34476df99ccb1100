"""The JSON Schemas of the registry's documents, for readers in other languages.

Run: `make schemas`; a test fails while `docs/schemas/` is not what the code says.
"""

import json
import sys
from pathlib import Path

from models.attestation import Attestation
from models.documents import Document
from models.fingerprint import Fingerprint
from models.manifest import Manifest
from models.plan import Plan
from models.policy import Policy
from models.release import Release
from models.report import Report
from models.revocation import Revocation
from models.trust import TrustStore
from models.waiver import Waiver

KINDS: tuple[type[Document], ...] = (
    Manifest,
    Plan,
    Report,
    Waiver,
    Release,
    Policy,
    Revocation,
    Attestation,
    Fingerprint,
    TrustStore,
)


def schemas() -> dict[str, str]:
    """Return each document's schema as text, by file name."""
    return {
        f"{kind.__name__.lower()}.schema.json": json.dumps(
            kind.model_json_schema(mode="serialization"), indent=2, sort_keys=True
        )
        + "\n"
        for kind in KINDS
    }


def export(directory: Path) -> None:
    """Write the schemas into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    export(Path(sys.argv[1]))
