"""Recipes: all that a run depends on, read from one TOML file; an unknown key is an error."""

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, cast, get_args

from models.documents import Digest, digest_of
from unlearn.errors import RecipeError

Vector = Literal["contrastive", "random"]
Target = Literal["shifted", "fixed"]
RECIPES = Path(__file__).with_name("recipes")


@dataclass(frozen=True)
class RunConfig:
    """One unlearning run.

    CUT is a contrastive vector and a shifted target, RMU a random vector and a fixed one.
    """

    method: str
    """The name that lineage and tables show."""
    family: str
    """Whose base checkpoint is unlearned."""
    domain: str
    """The hazard domain to forget; names the corpora."""
    vector: Vector
    """`contrastive`: novice minus expert; `random`: drawn once."""
    target: Target
    """`shifted`: the frozen activation plus c times the vector; `fixed`: c times the vector."""
    layer: int
    """l: the decoder layer whose output is steered, counted from 0."""
    trained_layers: tuple[int, ...]
    """The decoder layers with a trained tensor, none above l."""
    trained_tensor: str
    """The trained tensor's name within its layer."""
    coefficient: float
    """c: how far activations are sent."""
    alpha: float
    """The weight of what is retained."""
    learning_rate: float
    steps: int
    batch_size: int
    """Texts of each corpus in a step."""
    max_tokens: int
    """Texts are cut there."""
    seed: int
    phrases: tuple[str, ...]
    """Keyword phrases of the topic, for the contrastive vector; one is drawn at each step."""

    def __post_init__(self) -> None:
        """Check what one field alone cannot show."""
        if not self.trained_layers or max(self.trained_layers) > self.layer:
            raise ValueError("trained_layers must be there, and none above layer")
        if self.vector == "contrastive" and not self.phrases:
            raise ValueError("a contrastive vector needs phrases")
        for name in ("coefficient", "alpha", "learning_rate", "steps", "batch_size", "max_tokens"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """The full names of the trained tensors."""
        return tuple(f"model.layers.{i}.{self.trained_tensor}" for i in self.trained_layers)

    def as_json(self) -> dict[str, object]:
        """The recipe with every field, as JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @property
    def digest(self) -> Digest:
        """The digest of the recipe's values."""
        return digest_of(self.as_json())


def load_recipe(name: str) -> RunConfig:
    """Read a recipe: a file, or the name of one that ships (`smollm2-cut`).

    Raises:
        RecipeError: It is missing, is no TOML, or has an unknown, missing or impossible value.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        given = tomllib.loads(path.read_text())
    except OSError as error:
        shipped = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
        raise RecipeError(name, f"cannot be read; these ship: {shipped}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(name, f"is no TOML: {error}") from error
    known = {field.name for field in fields(RunConfig)}
    for problem, keys in (("unknown", given.keys() - known), ("missing", known - given.keys())):
        if keys:
            raise RecipeError(name, f"{problem} key: {', '.join(sorted(keys))}")
    for key, choices in (("vector", get_args(Vector)), ("target", get_args(Target))):
        if given[key] not in choices:
            raise RecipeError(name, f"{key} is one of {', '.join(choices)}")
    for key, value in given.items():
        if isinstance(value, list):
            given[key] = tuple(value)
    for field in fields(RunConfig):
        _check_type(name, field.name, cast(str, field.type), given[field.name])
    try:
        return RunConfig(**given)
    except ValueError as error:
        raise RecipeError(name, str(error)) from error


def _check_type(recipe: str, key: str, declared: object, value: object) -> None:
    """TOML knows its types; a number in quotes is a mistake, not a number."""
    wanted: tuple[type, ...] = {
        int: (int,),
        float: (int, float),
        tuple[int, ...]: (tuple,),
        tuple[str, ...]: (tuple,),
    }.get(cast(type, declared), (str,))
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise RecipeError(recipe, f"{key} has the wrong type ({type(value).__name__})")
