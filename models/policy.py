"""The gate's policy: the limits that a report is judged by, read from TOML."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from models.documents import Digest, Document, Name
from models.errors import DocumentError
from models.report import Variant

Share = Annotated[float, Field(ge=0, le=1)]
WaivableRule = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*\.(accuracy|gap_closed|excess|floor)$")
]
"""SUBSET.RULE. What makes a run INVALID can never be waived."""
DEFAULT_POLICY = Path(__file__).with_name("gate.toml")
WMDP_POLICY = Path(__file__).with_name("gate-wmdp.toml")


class Control(Document):
    """What the base must show for the run to count."""

    min_accuracy: Share
    min_utility_accuracy: Share


class DomainLimits(Document):
    """Limits of one hazard domain, where they are not those of all."""

    max_accuracy: Share
    min_control_accuracy: Share
    """What the base must show, as a lower bound."""


class Hazard(Document):
    """What the candidate may still know of a hazard domain."""

    max_accuracy: Share
    min_gap_closed: Share
    min_items: int = Field(ge=1)
    below_chance_level: float = Field(gt=0, lt=0.5)
    """An accuracy that a guesser falls below with less than this probability is an alarm."""
    domains: dict[Name, DomainLimits] = Field(default_factory=dict)


class Format(Document):
    """What other ways of asking may bring back."""

    max_excess: Share
    """How far a variant's accuracy may lie above the plain one's."""
    required: tuple[Variant, ...]
    """The variants that every hazard domain must be asked in."""
    required_of: dict[Name, tuple[Variant, ...]] = Field(default_factory=dict)
    """Those that only one domain has."""


class Utility(Document):
    """How much general ability the candidate may have lost."""

    max_drop: Share
    """Over all utility items together, as an upper bound."""
    min_items: int = Field(ge=1)
    floors: dict[Name, Share] = Field(default_factory=dict)
    """By subset: the largest measured drop; each must be in the report."""


class Canary(Document):
    """Items that any working path answers, whatever was unlearned."""

    min_accuracy: Share
    min_items: int = Field(ge=1)


class Statistics(Document):
    """How sure the bounds are, and when a scoring path counts as broken."""

    alpha: float = Field(gt=0, lt=0.5)
    """The chance of a wrong PASS, over all attempts in the window."""
    window_days: int = Field(ge=1)
    """Plans of so many days before a plan count as attempts."""
    max_same_choice: Share
    """Of the base's answers."""
    max_same_choice_candidate: Share
    max_ties: Share
    max_repeats: Share
    """Share of items that may be the same as another; public sets hold a few."""


class Validity(Document):
    """How long a report counts, and in which runs."""

    max_age_days: int = Field(ge=1)


class DatasetPin(Document):
    """Which items a subset must hold."""

    n: int = Field(ge=1)
    digest: Digest | None = None
    """None: only the number of items is known in advance."""


class Waivers(Document):
    """Which rules two people may make an exception to; all others are never waived."""

    allowed: tuple[WaivableRule, ...]


class Depth(Document):
    """What attacks on the weights may bring back."""

    mode: Literal["record", "block"]
    """record: block only what is worse than in the last release; block: also what exceeds
    `max_recovered`, for weights that are released or can be fine-tuned."""
    max_recovered: Share
    """Of the gap between base and candidate."""
    max_regression: Share
    required: tuple[Name, ...]
    """The attacks that must have been run on every hazard domain."""

    @model_validator(mode="after")
    def _blocks_by_something(self) -> "Depth":
        if self.mode == "block" and not self.required:
            raise ValueError("mode block needs required attacks: leaving them out must not pass")
        return self


class Policy(Document):
    """Everything that the gate decides by; `document_digest` identifies it in verdicts."""

    control: Control
    hazard: Hazard
    format: Format
    utility: Utility
    canary: Canary
    statistics: Statistics
    validity: Validity
    datasets: dict[Name, DatasetPin]
    """By subset. Where any is given, every plain hazard subset must be one of them."""
    waivers: Waivers
    depth: Depth

    def domain_limits(self, domain: str) -> DomainLimits:
        """Return the limits of a hazard domain."""
        return self.hazard.domains.get(domain) or DomainLimits(
            max_accuracy=self.hazard.max_accuracy, min_control_accuracy=self.control.min_accuracy
        )

    def required(self, domain: str) -> tuple[Variant, ...]:
        """Return the variants that a hazard domain must be asked in."""
        return (*self.format.required, *self.format.required_of.get(domain, ()))

    @classmethod
    def load(cls, path: Path = DEFAULT_POLICY) -> "Policy":
        """Read a policy.

        Raises:
            DocumentError: It is missing, is no TOML, or has an unknown or missing key.
        """
        try:
            return cls.model_validate(tomllib.loads(path.read_text()))
        except (OSError, UnicodeDecodeError) as error:
            raise DocumentError(path, str(error)) from error
        except tomllib.TOMLDecodeError as error:
            raise DocumentError(path, f"no TOML: {error}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "policy"
            raise DocumentError(path, f"{where}: {first['msg']}") from error
