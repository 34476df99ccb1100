"""Recipes: all that a run depends on, read from one TOML file; an unknown key is an error."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from models.documents import Digest, digest_of
from unlearn.baselines.recipe import METHODS, BaselineConfig, parse_recipe
from unlearn.errors import RecipeError

Method = Literal["cut", "rmu", "adaptive-rmu"]
Vector = Literal["contrastive", "random"]
Target = Literal["shifted", "fixed", "scaled"]
ComputeDtype = Literal["float32", "bfloat16"]
Numerics = Literal["masked", "reference"]
RECIPES = Path(__file__).with_name("recipes")

VECTORS: dict[Method, Vector] = {
    "cut": "contrastive",
    "rmu": "random",
    "adaptive-rmu": "random",
}
TARGETS: dict[Method, Target] = {"cut": "shifted", "rmu": "fixed", "adaptive-rmu": "scaled"}

AnyTable = TypeVar("AnyTable")


@dataclass(frozen=True)
class Topic:
    """One hazard domain to forget, and what is retained meanwhile."""

    domain: str
    """The hazard domain's name, as the family's base checkpoint lists it."""
    forget: str
    """The corpus to forget: `hub:…`, `file:…` or `builtin:…`."""
    retain: str
    """The corpus on which nothing may change."""
    coefficient: float
    """c: how far activations are sent; beta, in units of their norm, for adaptive-rmu."""
    alpha: float
    """The weight of what is retained."""
    max_tokens: int
    """Texts are cut there."""
    min_characters: int
    """Texts that are not longer are left out."""
    phrases: tuple[str, ...]
    """Keyword phrases for the contrastive vector; one is drawn at each step."""

    def __post_init__(self) -> None:
        """Check what one field's type cannot show."""
        for name in ("coefficient", "alpha", "max_tokens"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")


@dataclass(frozen=True)
class RunConfig:
    """One unlearning run by CUT, RMU or Adaptive RMU."""

    method: Method
    """Names the two switches: what the vector is, and what it is added to."""
    family: str
    """Whose base checkpoint is unlearned."""
    layer: int
    """l: the decoder layer whose output is steered, counted from 0."""
    trained_layers: tuple[int, ...]
    """The decoder layers with a trained tensor, none above l."""
    trained_tensors: tuple[str, ...]
    """The trained tensors' names within a layer, as they are on disk."""
    rank: int
    """0: the whole tensor is trained; r > 0: the update is a product of rank r."""
    learning_rate: float
    steps: int
    """Of the optimiser, all topics together."""
    batch_size: int
    """Texts of each corpus in a step."""
    seed: int
    compute_dtype: ComputeDtype
    """In which passes are run; masters and the optimiser's state are always fp32."""
    numerics: Numerics
    """`masked`: padding counts for nothing; `reference`: the published code's arithmetic."""
    topics: tuple[Topic, ...]
    """They alternate, step by step."""

    def __post_init__(self) -> None:
        """Check what one field's type cannot show."""
        if not self.trained_layers or max(self.trained_layers) > self.layer:
            raise ValueError("trained_layers must be there, and none above layer")
        if len(set(self.trained_layers)) < len(self.trained_layers) or min(self.trained_layers) < 0:
            raise ValueError("trained_layers must be distinct and not below 0")
        if not self.trained_tensors or not self.topics:
            raise ValueError("trained_tensors and topics must not be empty")
        if len({topic.domain for topic in self.topics}) < len(self.topics):
            raise ValueError("the topics' domains must be distinct")
        if self.rank < 0:
            raise ValueError("rank must not be below 0")
        for name in ("learning_rate", "steps", "batch_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        if self.vector == "contrastive" and not all(topic.phrases for topic in self.topics):
            raise ValueError("a contrastive vector needs phrases in every topic")

    @property
    def vector(self) -> Vector:
        """`contrastive`: novice minus expert; `random`: drawn once."""
        return VECTORS[self.method]

    @property
    def target(self) -> Target:
        """What activations are drawn to.

        `shifted`: the frozen activation plus c times the vector; `fixed`: c times the vector;
        `scaled`: the same with c in units of the frozen activations' norm.
        """
        return TARGETS[self.method]

    @property
    def first(self) -> int:
        """The lowest layer with a trained tensor; below it both models are the same."""
        return min(self.trained_layers)

    def as_json(self) -> dict[str, object]:
        """The recipe with every field, as JSON values."""
        return cast(dict[str, object], _as_lists(asdict(self)))

    @property
    def digest(self) -> Digest:
        """The digest of the recipe's values."""
        return digest_of(self.as_json())


def load_recipe(name: str, overrides: Sequence[str] = ()) -> RunConfig | BaselineConfig:
    """Read a recipe: a file, or the name of one that ships (`smollm2-cut`).

    Args:
        name: A path that ends in `.toml`, or a shipped recipe's name.
        overrides: `key=value` in TOML; a topic's key is set in every topic, or in one
            (`topics.0.alpha=5`).

    Raises:
        RecipeError: It is missing, is no TOML, or has an unknown, missing or impossible value.
    """
    table = override(read_table(name), name, overrides)
    if table.get("method") in METHODS:
        return parse_recipe(name, table)
    if table.get("method") not in get_args(Method):
        raise RecipeError(name, f"method is one of {', '.join([*get_args(Method), *METHODS])}")
    return parse_table(RunConfig, table, name)


def read_table(name: str) -> dict[str, object]:
    """Return a recipe's TOML table as it is written.

    Raises:
        RecipeError: It is missing or no TOML.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        shipped = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
        raise RecipeError(name, f"cannot be read; these ship: {shipped}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(name, f"is no TOML: {error}") from error


def override(
    table: Mapping[str, object], recipe: str, overrides: Sequence[str]
) -> dict[str, object]:
    """Return a recipe's table with some values replaced.

    Args:
        table: As `read_table` returns it.
        recipe: Its name, for messages.
        overrides: As in `load_recipe`.

    Raises:
        RecipeError: One is no `key=value`, or names a topic that is not there.
    """
    given = table.get("topics")
    if not overrides or not isinstance(given, list):
        return dict(table)
    result, topics = dict(table), [dict(topic) for topic in given]
    topic_keys = {field.name for field in fields(Topic)}
    for item in overrides:
        try:
            key, value = next(iter(tomllib.loads(_quoted(item)).items()))
        except (tomllib.TOMLDecodeError, StopIteration) as error:
            raise RecipeError(recipe, f"--set {item} is no key=value") from error
        if key.startswith("topics."):
            _, number, key = (*key.split(".", 2), "")[:3]
            if not number.isdecimal() or int(number) >= len(topics):
                raise RecipeError(recipe, f"--set {item}: there are {len(topics)} topics, from 0")
            topics[int(number)][key] = value
        elif key in topic_keys and key not in table:  # A baseline has an alpha of its own.
            for topic in topics:
                topic[key] = value
        else:
            result[key] = value
    return {**result, "topics": topics}


def parse_table(kind: type[AnyTable], table: Mapping[str, object], recipe: str) -> AnyTable:
    """Return a table as a dataclass: every field must be there, with its type, and nothing else.

    Raises:
        RecipeError: A key is unknown or missing, or a value is of another type or impossible.
    """
    hints = get_type_hints(kind)
    for problem, keys in (
        ("unknown", table.keys() - hints.keys()),
        ("missing", hints.keys() - table.keys()),
    ):
        if keys:
            raise RecipeError(recipe, f"{problem} key: {', '.join(sorted(keys))}")
    values = {key: _parse_value(hints[key], key, table[key], recipe) for key in hints}
    try:
        return kind(**values)
    except ValueError as error:
        raise RecipeError(recipe, str(error)) from error


def _parse_value(declared: object, key: str, value: object, recipe: str) -> object:
    """TOML knows its types; a number in quotes is a mistake, not a number."""
    if get_origin(declared) is tuple:
        if not isinstance(value, list):
            raise RecipeError(recipe, f"{key} must be a list")
        return tuple(_parse_value(get_args(declared)[0], key, item, recipe) for item in value)
    if get_origin(declared) is Literal:
        if value not in get_args(declared):
            raise RecipeError(recipe, f"{key} is one of {', '.join(get_args(declared))}")
        return value
    if isinstance(declared, type) and is_dataclass(declared) and isinstance(value, dict):
        return parse_table(declared, value, recipe)
    wanted = (int, float) if declared is float else cast(type, declared)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise RecipeError(recipe, f"{key} has the wrong type ({type(value).__name__})")
    if declared is not float:
        return value
    try:
        number = float(cast(float, value))
    except OverflowError:  # An integer of hundreds of digits.
        number = math.inf
    if not math.isfinite(number):
        raise RecipeError(recipe, f"{key} must be a finite number")
    return number


def _quoted(item: str) -> str:
    """Return `a.b=1` as TOML with one flat key, so that dots do not nest."""
    key, _, value = item.partition("=")
    return f'"{key.strip()}" = {value}'


def _as_lists(value: object) -> object:
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, tuple | list) else value
