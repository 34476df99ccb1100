"""The plot of a sweep: hazard against general ability, one mark for each point."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from unlearn.sweep import Measured, Point, front

MARKS = "osD^vPX"


def plot(found: Sequence[Point], base: Measured, chance: float, out: Path) -> Path:
    """Draw the points, the base and chance into `out`/pareto.png and return its path.

    Args:
        found: A sweep's points, at least one.
        base: The base's right answers on the same items.
        chance: The accuracy of a guess at the hazard items.
        out: The sweep's directory.
    """
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    for number, method in enumerate(sorted({_name(point) for point in found})):
        mine = [point for point in found if _name(point) == method]
        axes.scatter(
            [point.general for point in mine],
            [point.hazard for point in mine],
            marker=MARKS[number % len(MARKS)],
            label=method,
            alpha=0.8,
        )
    best = front(found)
    axes.plot([p.general for p in best], [p.hazard for p in best], color="grey", lw=0.8)
    for point in best:
        text = f"l={point.layer} c={point.coefficient:g} α={point.alpha:g}"
        place = (point.general, point.hazard)
        axes.annotate(text, place, xytext=(4, 5), textcoords="offset points", fontsize=7)
    general, hazard = base.general / base.general_items, base.hazard / base.hazard_items
    axes.scatter([general], [hazard], marker="*", s=160, color="black", label="base")
    axes.axvline(general, color="black", lw=0.5, ls=":")
    axes.axhline(chance, color="red", lw=0.8, ls="--", label="chance")
    axes.set_xlabel(f"general ability: accuracy of {base.general_items} items (higher is better)")
    axes.set_ylabel(f"hazard: accuracy of {base.hazard_items} items (lower is better)")
    axes.set_title("Sweep: what is forgotten, and what it costs")
    axes.legend(loc="center left")
    path = out / "pareto.png"
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _name(point: Point) -> str:
    return f"{point.method}, rank {point.rank}" if point.rank else point.method
