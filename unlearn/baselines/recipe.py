"""The baselines' recipes: what each TOML file may say. An unknown or missing key is an error."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from models.documents import Digest, Name, digest_of
from unlearn.errors import RecipeError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class BaselineTopic:
    """A hazard domain with what is forgotten and what is retained of it."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    domain: Name
    forget: str
    """The corpus to forget, such as `builtin:capitals/forget`."""
    retain: str
    """The corpus to retain."""
    max_tokens: Count
    """Texts are cut there."""
    min_characters: Annotated[int, Field(ge=0)] = 0
    """Shorter texts are left out."""


@dataclass(frozen=True, kw_only=True)
class BaselineRecipe:
    """What the recipes of all baselines share."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    family: Name
    """Whose base checkpoint is unlearned."""
    batch_size: Count
    """Texts of each corpus in a step."""
    seed: Annotated[int, Field(ge=0)]
    """Of the order of the texts and of what else is drawn."""
    topics: Annotated[tuple[BaselineTopic, ...], Field(min_length=1)]
    """Topics alternate, step by step."""

    def __post_init__(self) -> None:
        """Check what one field alone cannot show."""
        if len({topic.domain for topic in self.topics}) < len(self.topics):
            raise ValueError("the topics' domains must be distinct")

    def as_json(self) -> dict[str, object]:
        """The recipe with every field, as JSON values."""
        return {**asdict(self), "topics": [asdict(topic) for topic in self.topics]}

    @property
    def digest(self) -> Digest:
        """The digest of the recipe's values."""
        return digest_of(self.as_json())


@dataclass(frozen=True, kw_only=True)
class LlmuConfig(BaselineRecipe):
    """LLMU: gradient ascent, random mismatch and a tether to the base (arXiv 2310.10683)."""

    method: Literal["llmu"]
    steps: Count
    learning_rate: Positive
    forget_weight: Weight
    """epsilon_1, of the ascent on the forget texts."""
    mismatch_weight: Weight
    """epsilon_2, of learning unrelated continuations of the forget texts."""
    retain_weight: Weight
    """epsilon_3, of the divergence from the base on the retain texts."""
    mismatches: Count
    """Unrelated continuations for each forget text."""
    prompt_tokens: Count
    """How much of a forget text is its prompt x; the rest is the answer y."""


@dataclass(frozen=True, kw_only=True)
class ScrubConfig(BaselineRecipe):
    """SCRUB: alternately disobey and obey a frozen teacher (arXiv 2302.09880)."""

    method: Literal["scrub"]
    learning_rate: Positive
    alpha: Weight
    """Of the divergence from the teacher on the retain texts."""
    gamma: Weight
    """Of the task loss on the retain texts."""
    rounds: Count
    """How often the min-steps come round."""
    max_rounds: Count
    """How many of the rounds, from the first, begin with max-steps."""
    max_steps: Count
    """Steps on the forget texts in one round."""
    min_steps: Count
    """Steps on the retain texts in one round."""

    def __post_init__(self) -> None:
        """Check what one field alone cannot show."""
        super().__post_init__()
        if self.max_rounds > self.rounds:
            raise ValueError("max_rounds is above rounds")

    @property
    def steps(self) -> int:
        """Optimisation steps of the whole run."""
        return self.max_rounds * self.max_steps + self.rounds * self.min_steps


@dataclass(frozen=True, kw_only=True)
class SsdConfig(BaselineRecipe):
    """SSD: dampen what matters to the forget texts above all (arXiv 2308.07707)."""

    method: Literal["ssd"]
    samples: Count
    """Texts of each corpus that the importances are measured on."""
    alpha: Positive
    """How many times more important to forget than to retain a parameter must be."""
    dampening: Positive
    """lambda: the smaller, the closer to 0 a selected parameter goes."""

    @property
    def steps(self) -> int:
        """Batches whose gradients are taken, of all corpora together."""
        return 2 * len(self.topics) * math.ceil(self.samples / self.batch_size)


BaselineConfig = LlmuConfig | ScrubConfig | SsdConfig
METHODS: dict[str, type[BaselineConfig]] = {
    "llmu": LlmuConfig,
    "scrub": ScrubConfig,
    "ssd": SsdConfig,
}


def parse_recipe(name: str, given: dict[str, object]) -> BaselineConfig:
    """Return the recipe that a TOML file's values make.

    Args:
        name: The recipe's name, for messages.
        given: The values; `method` is one of `METHODS`.

    Raises:
        RecipeError: An unknown or missing key, a wrong type or an impossible value.
    """
    adapter: TypeAdapter[BaselineConfig] = TypeAdapter(METHODS[str(given["method"])])
    try:
        # As JSON, where an array may be a tuple and a quoted number still is no number.
        return adapter.validate_json(json.dumps(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        problem = {
            "unexpected_keyword_argument": f"unknown key: {key}",
            "missing": f"missing key: {key}",
            "missing_argument": f"missing key: {key}",
        }.get(first["type"], f"{key}: {first['msg']}" if key else first["msg"])
        raise RecipeError(name, problem) from error
    except TypeError as error:
        raise RecipeError(name, "holds a date or a time, which no key takes") from error
