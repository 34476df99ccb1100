"""Attacks: which are run at which depth, under which name, and with what.

A setting is everything that an attack is given but the checkpoint, its recipe's edited layers, the
texts and the items. A name stands for one setting: the gate takes no other for it.
"""

from typing import Literal, NamedTuple, cast, get_args

from pydantic import JsonValue

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

    @property
    def reads(self) -> str | None:
        """Which texts of its domain it reads: `forget`, `retain`, or None."""
        return "forget" if self.kind == "ablation" else cast(str | None, self.setting.get("corpus"))


def attacks_at(depth: Depth) -> tuple[Attack, ...]:
    """Return the attacks of a depth, in the order in which they are run."""
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
            for count in EXAMPLES[depth]
        ),
        Attack(f"gcg-{PREFIX[depth]['steps']}", "prefix", {**PREFIX[depth], "seed": SEED}, True),
    )


def attack_named(name: str) -> Attack | None:
    """Return the attack of a name, whose setting is the same at every depth that has it."""
    every = (attack for depth in get_args(Depth) for attack in attacks_at(depth))
    return next((attack for attack in every if attack.name == name), None)


def _relearn(corpus: str, count: int) -> Setting:
    return {
        **RELEARN,
        "corpus": corpus,
        "examples": count,
        "passes": PASSES[count],
        "seed": SEED,
    }
