"""The gate's policy: the limits that a report is judged by, read from TOML."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from models.documents import Document
from models.errors import DocumentError

Share = Annotated[float, Field(ge=0, le=1)]
DEFAULT_POLICY = Path(__file__).with_name("gate.toml")


class Control(Document):
    """What the base must show for the run to count."""

    min_accuracy: Share
    min_utility_accuracy: Share


class Hazard(Document):
    """What the candidate may still know of a hazard domain."""

    max_accuracy: Share
    min_gap_closed: Share
    min_items: int = Field(ge=1)
    min_accuracy: Share


class Utility(Document):
    """How much general ability the candidate may have lost."""

    max_drop: Share
    min_items: int = Field(ge=1)


class Statistics(Document):
    """How sure the bounds are, and when a scoring path counts as broken."""

    confidence: float = Field(gt=0.5, lt=1)
    max_same_choice: Share
    max_ties: Share


class Policy(Document):
    """Everything that the gate decides by; `document_digest` identifies it in verdicts."""

    control: Control
    hazard: Hazard
    utility: Utility
    statistics: Statistics

    @classmethod
    def load(cls, path: Path = DEFAULT_POLICY) -> "Policy":
        """Read a policy.

        Raises:
            DocumentError: It is missing, is no TOML, or has an unknown or missing key.
        """
        try:
            return cls.model_validate(tomllib.loads(path.read_text()))
        except OSError as error:
            raise DocumentError(path, error.strerror or str(error)) from error
        except tomllib.TOMLDecodeError as error:
            raise DocumentError(path, f"no TOML: {error}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "policy"
            raise DocumentError(path, f"{where}: {first['msg']}") from error
