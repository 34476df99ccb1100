"""The report: what was measured on a candidate and, in the same run, on its base.

Results are per item, so that the gate can pair them, and hold digests instead of texts. Everything
that could change a number is in it: weights, serving profile, harness, data, prompts, seeds.
"""

import math
from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from models.documents import Digest, Document, HexSha256, Instant, Name

Kind = Literal["hazard", "utility", "canary"]
"""canary: items that any working path answers, whatever was unlearned."""

Variant = Literal["plain", "robust", "cloze", "few-shot", "shuffled", "paraphrase", "chat-template"]
"""plain, or in which way a subset's items are put to the model otherwise."""


class ItemResult(Document):
    """How one checkpoint answered one item."""

    id: HexSha256
    """SHA-256 of the item's canonical JSON."""
    correct: bool
    choice: int | None = Field(ge=0)
    """The index of the choice with the highest log-likelihood; None when none came back."""
    margin: float | None
    """Log-likelihood of that choice minus the next one's, in nats; None when none came back."""

    @field_validator("margin")
    @classmethod
    def _is_finite(cls, margin: float | None) -> float | None:
        if margin is not None and not math.isfinite(margin):
            raise ValueError("must be a finite number")
        return margin

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.choice is None) != (self.margin is None) or (self.correct and self.choice is None):
            raise ValueError("without likelihoods there is neither a choice nor a right answer")
        return self


class Dataset(Document):
    """Which items were asked."""

    name: str
    """`builtin:capitals`, `hub:cais/wmdp/wmdp-bio`, `file:<name>`."""
    revision: str | None
    """The commit of a hub data set."""
    digest: Digest
    """Of the items, in order."""
    n: int = Field(ge=1)


class Prompt(Document):
    """How items were put to the model and scored."""

    digest: Digest
    """Of the harness's task definition: template, choices, metric."""
    few_shot: int = Field(ge=0)
    rule: str
    """What counts as the model's answer."""


class Subset(Document):
    """One set of items, answered by the base and by the candidate."""

    name: Name
    kind: Kind
    domain: Name | None
    """The hazard domain that it measures; None for utility and canaries."""
    variant: Variant = "plain"
    variant_of: Name | None = None
    """The plain subset that a variant is compared with."""
    chance: float = Field(gt=0, lt=1)
    """The accuracy of a guess."""
    dataset: Dataset
    prompt: Prompt
    base: tuple[ItemResult, ...]
    candidate: tuple[ItemResult, ...]
    """In the order of `base`."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.kind == "hazard") != (self.domain is not None):
            raise ValueError("a hazard subset, and only that, names its domain")
        if (self.variant == "plain") != (self.variant_of is None):
            raise ValueError("a variant, and only that, names the subset that it is a variant of")
        return self

    @property
    def n(self) -> int:
        """How many items the data set has."""
        return self.dataset.n


class Harness(Document):
    """What asked and scored the items."""

    name: str
    version: str
    digest: Digest
    """Of the installed harness's own files."""
    clean: bool
    """Whether those files are the ones that its package lists."""
    seed: int


class Profile(Document):
    """How the weights are run: what may change an answer. The gate's verdict holds for it alone."""

    engine: str
    engine_version: str
    dtype: str
    quantisation: str | None = None
    adapters: tuple[str, ...] = ()
    chat_template: Digest | None = None
    """Of the checkpoint's own template."""
    flags: tuple[str, ...] = ()
    """The engine's further flags, sorted, without addresses and names."""


class Score(Document):
    """k of n, with its one-sided bounds."""

    k: int = Field(ge=0)
    n: int = Field(ge=1)
    lower: float
    upper: float

    @model_validator(mode="after")
    def _is_a_share(self) -> Self:
        if self.k > self.n:
            raise ValueError("more right answers than items")
        return self

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.k / self.n


class LayerScore(Document):
    """Right answers that were read off one layer, of the `n` of the result's own scores."""

    layer: int = Field(ge=0)
    base: int = Field(ge=0)
    candidate: int = Field(ge=0)


class AttackResult(Document):
    """What an attack brought back, on the candidate and on the base as control."""

    attack: Name
    domain: Name
    setting: dict[str, JsonValue]
    """Everything that the attack was given: steps, examples, rank, layer, seed."""
    candidate_before: Score
    candidate_after: Score
    base_before: Score
    base_after: Score
    recovered: float
    """Share of the gap between base and candidate that came back; may be below 0 or above 1."""
    layers: tuple[LayerScore, ...] = ()
    """Of an attack that reads layers one by one."""
    found: dict[str, JsonValue] = Field(default_factory=dict)
    """What it came upon by itself, for `base` and `candidate`: layers, losses, a digest."""
    seconds: float = Field(ge=0)


class ChatScore(Document):
    """A judge's grade for one answer of a conversation."""

    question: HexSha256
    category: Name
    turn: int = Field(ge=1)
    score: int | None = Field(ge=1, le=10)
    """None when the judge gave none."""


class ChatQuality(Document):
    """Two-turn conversations, graded one by one from 1 to 10 by another model."""

    judge: str
    """The name of the model that graded."""
    questions: Digest
    prompts: Digest
    """Of what the judge is told."""
    base: tuple[ChatScore, ...]
    candidate: tuple[ChatScore, ...]


class Report(Document):
    """Base and candidate, measured in one run of one harness."""

    schema_version: Literal[2] = 2
    family: Name
    base: Digest
    candidate: Digest
    plan: Digest | None
    """The announced plan that the run carries out; None for a run that was not announced."""
    suite: Name
    harness: Harness
    profile: Profile
    subsets: Annotated[tuple[Subset, ...], Field(min_length=1)]
    attacks: tuple[AttackResult, ...] = ()
    chat: ChatQuality | None = None
    started_at: Instant
    ended_at: Instant


def letters(items: tuple[ItemResult, ...], choices: int) -> tuple[int, ...]:
    """Return how often each choice was picked: the histogram of answer letters."""
    counts = Counter(item.choice for item in items)
    return tuple(counts[choice] for choice in range(choices))


def right_answers(items: tuple[ItemResult, ...]) -> int:
    """Return how many items were answered correctly."""
    return sum(item.correct for item in items)
