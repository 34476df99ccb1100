"""The report: what was measured on a candidate and, in the same run, on its base.

Results are per item, so that the gate can pair them, and hold digests instead of texts.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from models.documents import Digest, Document, HexSha256, Instant, Name


class ItemResult(Document):
    """How one checkpoint answered one item."""

    id: HexSha256
    """SHA-256 of the item's canonical JSON."""
    correct: bool
    choice: int = Field(ge=0)
    """The index of the choice with the highest log-likelihood."""
    margin: float
    """Log-likelihood of that choice minus the next one's, in nats."""

    @field_validator("margin")
    @classmethod
    def _is_finite(cls, margin: float) -> float:
        if not math.isfinite(margin):
            raise ValueError("must be a finite number")
        return margin


class Subset(Document):
    """One set of items, answered by the base and by the candidate."""

    name: Name
    kind: Literal["hazard", "utility"]
    domain: Name | None
    """The hazard domain that it measures; None for utility."""
    chance: float = Field(gt=0, lt=1)
    """The accuracy of a guess."""
    dataset_digest: Digest
    n: int = Field(ge=1)
    base: tuple[ItemResult, ...]
    candidate: tuple[ItemResult, ...]
    """In the order of `base`."""

    @model_validator(mode="after")
    def _names_its_domain(self) -> Self:
        if (self.kind == "hazard") != (self.domain is not None):
            raise ValueError("a hazard subset, and only that, names its domain")
        return self


class Harness(Document):
    """What asked and scored the items."""

    name: str
    version: str
    scoring: str
    prompt_digest: Digest
    """Of the task definitions: prompt template, choices, metric."""
    few_shot: int = Field(ge=0)
    seed: int


class Profile(Document):
    """How the weights were run."""

    engine: str
    engine_version: str
    dtype: str


class Report(Document):
    """Base and candidate, measured in one run of one harness."""

    schema_version: Literal[1] = 1
    family: Name
    base: Digest
    candidate: Digest
    harness: Harness
    profile: Profile
    subsets: Annotated[tuple[Subset, ...], Field(min_length=1)]
    started_at: Instant
    ended_at: Instant
