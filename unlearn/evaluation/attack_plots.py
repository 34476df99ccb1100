"""What the page draws of attack results: rows, and lines through points between 0 and 1."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.report import AttackResult

RELEARN = re.compile(r"^relearn-(?P<corpus>.+)-(?P<examples>\d+)$")


@dataclass(frozen=True)
class Line:
    """One line of a plot."""

    who: str
    """`base` or `candidate`, which is its colour."""
    label: str
    is_dashed: bool
    points: tuple[tuple[float, float], ...]
    """From the left (0) to the right (1), from the bottom (0) to the top (1)."""
    marked: int | None = None
    """Which point the attack chose."""


@dataclass(frozen=True)
class Plot:
    """Accuracies over layers, or over how many texts were learned again."""

    title: str
    across: str
    """What the horizontal axis says."""
    ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]


def strongest_first(attacks: Sequence[AttackResult]) -> list[AttackResult]:
    """Return attacks in the order of how much of the gap they bring back."""
    return sorted(attacks, key=lambda one: (one.domain, -one.recovered))


def layer_plots(attacks: Sequence[AttackResult]) -> list[Plot]:
    """Return a plot of each attack that reads layers."""
    return [_layers(one) for one in attacks if len(one.layers) > 1]


def relearning_plots(attacks: Sequence[AttackResult]) -> list[Plot]:
    """Return a plot of each domain in which something was learned again."""
    found: dict[str, dict[str, dict[int, AttackResult]]] = {}
    for one in attacks:
        if named := RELEARN.match(one.attack):
            corpora = found.setdefault(one.domain, {})
            corpora.setdefault(named["corpus"], {})[int(named["examples"])] = one
    return [_relearning(domain, corpora) for domain, corpora in found.items()]


def _layers(one: AttackResult) -> Plot:
    last = one.layers[-1].layer
    lines = []
    for who in ("base", "candidate"):
        n = getattr(one, f"{who}_after").n
        points = tuple((row.layer / last, getattr(row, who) / n) for row in one.layers)
        chosen = one.found.get(who)
        layer = chosen.get("layer") if isinstance(chosen, dict) else None
        marked = layer if isinstance(layer, int) and layer < len(points) else None
        lines.append(Line(who, who, False, points, marked))
    step = max(1, last // 6)
    ticks = tuple((layer / last, str(layer)) for layer in range(0, last + 1, step))
    return Plot(f"{one.attack}, {one.domain}", "layer", ticks, tuple(lines))


def _relearning(domain: str, corpora: dict[str, dict[int, AttackResult]]) -> Plot:
    counts = sorted({count for results in corpora.values() for count in results})
    lines = []
    for corpus, results in sorted(corpora.items()):
        for who in ("base", "candidate"):
            first = next(iter(results.values()))
            points = [(0.0, getattr(first, f"{who}_before").accuracy)]
            points += [
                ((counts.index(count) + 1) / len(counts), getattr(one, f"{who}_after").accuracy)
                for count, one in sorted(results.items())
            ]
            lines.append(Line(who, f"{who}, {corpus}", corpus != "forget", tuple(points)))
    ticks = tuple((place / len(counts), str(count)) for place, count in enumerate([0, *counts]))
    return Plot(f"relearning, {domain}", "texts learned again", ticks, tuple(lines))
