"""A task: items of one kind, and the harness's definition of how they are put to a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from pydantic import JsonValue

from models.documents import Digest, digest_of
from models.report import Dataset, Kind, Prompt, Variant
from unlearn.evaluation.items import CHOICES, Item, item_id

Definition = Mapping[str, JsonValue]
"""A task of the harness as its YAML files write it, without where its rows are."""


@dataclass(frozen=True)
class Origin:
    """Where items come from."""

    name: str
    """`builtin:capitals`, `hub:OWNER/NAME/CONFIG/SPLIT`, `file:NAME`."""
    revision: str | None = None
    """The commit of a hub data set."""


@dataclass(frozen=True)
class Task:
    """One subset of a report, before it is asked."""

    name: str
    kind: Kind
    domain: str | None
    definition: Definition
    items: tuple[Item, ...]
    """As they are put to the model."""
    origin: Origin
    variant: Variant = "plain"
    variant_of: str | None = None
    examples: tuple[Item, ...] = ()
    """What few-shot examples are drawn from; without any, the other items."""
    plain_items: tuple[Item, ...] = field(default=())
    """The items before a variant reordered their choices, where it did."""

    @property
    def harness_name(self) -> str:
        """The name that the harness knows it by, unlike any of its own."""
        return f"airlock_{self.name}"

    @property
    def ids(self) -> tuple[str, ...]:
        """The items' names; a variant's are those of the plain items, so that results pair."""
        return tuple(item_id(item) for item in self.plain_items or self.items)

    @property
    def is_chat(self) -> bool:
        """Whether prompts go through the checkpoint's chat template."""
        return self.variant == "chat-template"

    @property
    def few_shot(self) -> int:
        """How many examples stand before the question."""
        return int(str(self.definition.get("num_fewshot") or 0))

    @property
    def examples_split(self) -> str | None:
        """Which of its files the harness draws examples from; None without examples.

        The harness leaves the asked item out only of examples that come from a split which it was
        told is the asked one; of a split that it falls back on, it shows the item its own answer.
        """
        if self.examples:
            return "dev"
        return "test" if self.few_shot else None

    @property
    def metric(self) -> str:
        """What the harness calls the right answer: `acc`, or `acc_norm` by length."""
        metrics = cast(list[dict[str, JsonValue]], self.definition["metric_list"])
        return str(metrics[0]["metric"])

    @property
    def is_lettered(self) -> bool:
        """Whether the answers are letters, so that one request can give all likelihoods."""
        return isinstance(self.definition["doc_to_choice"], list)

    @property
    def dataset(self) -> Dataset:
        """The report's record of the items; of a variant, of the items that it was made from."""
        rows = list(self.plain_items or self.items)
        return Dataset(
            name=self.origin.name,
            revision=self.origin.revision,
            digest=digest_of(rows),
            n=len(rows),
        )

    @property
    def prompt(self) -> Prompt:
        """The report's record of how the items are put and scored."""
        rule = (
            "acc: the choice with the highest log-likelihood"
            if self.metric == "acc"
            else "acc_norm: the choice with the highest log-likelihood for each character"
        )
        return Prompt(digest=self.prompt_digest, few_shot=self.few_shot, rule=rule)

    @property
    def prompt_digest(self) -> Digest:
        """The digest of everything that turns items into prompts."""
        is_drawn = self.examples_split == "test"
        return digest_of(
            {
                "definition": dict(self.definition),
                "chat_template": self.is_chat,
                "items": digest_of(list(self.items)),
                "examples": digest_of(list(self.examples)),
                # Said only here: prompts without such examples keep their digest.
                **({"examples_split": self.examples_split} if is_drawn else {}),
            }
        )

    @property
    def chance(self) -> float:
        """The accuracy of a guess."""
        return 1 / CHOICES
