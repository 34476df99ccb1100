"""Settings: which attacks are run at which depth, and with what.

A setting is everything that an attack is given but the checkpoint, its recipe's edited layers and
the items; two results compare only where their settings are equal.
"""

from typing import Literal, NamedTuple, cast, get_args

from pydantic import JsonValue

from unlearn.errors import SuiteError

Depth = Literal["miniature", "small", "full"]
"""miniature: everything once, in seconds on a toy; small: for a small model without a GPU; full."""

Setting = dict[str, JsonValue]

SEED = 0
EXAMPLES: dict[Depth, tuple[int, ...]] = {
    "miniature": (2,),
    "small": (10, 100),
    "full": (10, 100, 1000),
}
"""How many texts are learned again."""
PREFIX: dict[Depth, Setting] = {
    "miniature": {"prompts": 2, "tokens": 3, "steps": 3, "width": 8, "top_k": 4},
    "small": {"prompts": 5, "tokens": 16, "steps": 30, "width": 48, "top_k": 128},
    "full": {"prompts": 5, "tokens": 20, "steps": 500, "width": 256, "top_k": 256},
}
RELEARN: Setting = {
    "method": "LoRA on every linear layer",
    "rank": 16,
    "lora_alpha": 32,
    "learning_rate": 1e-3,
    "batch_size": 4,
    "max_tokens": 128,
}
# Ten texts take as many steps as a hundred would in a fifth of their passes.
PASSES: dict[int, int] = {2: 2, 10: 10, 100: 3, 1000: 3}


class Attack(NamedTuple):
    """An attack and its setting."""

    name: str
    kind: str
    """Which code runs it."""
    setting: Setting
    is_relative: bool = False
    """Whether what is done to the base depends on the candidate."""


def attacks_of(depth: str) -> tuple[Attack, ...]:
    """Return the attacks of a depth, in the order in which they are run.

    Raises:
        SuiteError: There is no such depth.
    """
    if depth not in get_args(Depth):
        raise SuiteError("depth", f"{depth} is none of {', '.join(get_args(Depth))}")
    chosen = cast(Depth, depth)
    return (
        Attack("linear-probe", "probe", {"train_share": 0.5, "folds": 3, "l2": 1.0, "seed": SEED}),
        Attack("logit-lens", "lens", {"train_share": 0.5, "seed": SEED}),
        Attack("direction-ablation", "ablation", {"texts": 64, "max_tokens": 128}, True),
        Attack("few-shot", "few-shot", {"examples": 5, "drawn_from": "other items"}),
        *(
            Attack(
                f"quantise-{bits}bit",
                "quantise",
                {"method": "round to nearest", "bits": bits, "group_size": 64},
            )
            for bits in (8, 4)
        ),
        *(
            Attack(f"relearn-{name}-{count}", "relearn", _relearn(corpus, count))
            for name, corpus in (("forget", "forget"), ("benign", "retain"))
            for count in EXAMPLES[chosen]
        ),
        Attack(f"gcg-{PREFIX[chosen]['steps']}", "prefix", {**PREFIX[chosen], "seed": SEED}, True),
    )


def _relearn(corpus: str, count: int) -> Setting:
    return {
        **RELEARN,
        "corpus": corpus,
        "examples": count,
        "passes": PASSES[count],
        "seed": SEED,
    }
