"""A report as one self-contained HTML page that a reviewer reads in two minutes.

Verdict, what was measured, how sure, what it costs, what breaks it, where it comes from. Plots are
inline SVG; nothing is loaded from anywhere, and no item's text is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.depth import DEPTH_SUITE
from models.gate import Verdict
from models.intervals import (
    binomial_lower_bound,
    binomial_upper_bound,
    paired_drop_upper_bound,
)
from models.report import (
    AttackResult,
    ChatScore,
    ItemResult,
    Report,
    Subset,
    letters,
    right_answers,
)
from unlearn.evaluation.attack_plots import layer_plots, relearning_plots, strongest_first
from unlearn.evaluation.items import CHOICES, LETTERS

TEMPLATES = Path(__file__).parent / "data"
HOLDS = ("PASS", "WAIVED")
ONE_SIDED, TWO_SIDED = 0.95, 0.975
"""Each bound of a two-sided 95 % interval leaves 2.5 % outside."""


@dataclass(frozen=True)
class Bar:
    """One checkpoint's accuracy on one subset, with its two-sided 95 % interval."""

    k: int
    n: int
    lower: float
    upper: float
    letters: tuple[int, ...]
    missing: int

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.k / self.n


@dataclass(frozen=True)
class Row:
    """A subset as the page shows it."""

    subset: Subset
    base: Bar
    candidate: Bar
    lost: int
    gained: int

    @property
    def closed(self) -> float | None:
        """The share of the base's lead over chance that is gone; None without a lead."""
        lead = self.base.accuracy - self.subset.chance
        return (self.base.accuracy - self.candidate.accuracy) / lead if lead > 0 else None

    @property
    def drop(self) -> float:
        """How much of the accuracy is gone."""
        return (self.lost - self.gained) / self.subset.n

    @property
    def drop_bound(self) -> float:
        """The one-sided 95 % upper bound of the drop, paired by item."""
        return paired_drop_upper_bound(self.lost, self.gained, self.subset.n, ONE_SIDED)


def render(
    report: Report,
    verdict: Verdict,
    signers: Sequence[str],
    attacks: Sequence[AttackResult] = (),
) -> str:
    """Return a report's page.

    Args:
        report: What was measured.
        verdict: What the gate says of it.
        signers: The key ids in its envelope; they are named, not checked.
        attacks: What attacks on the weights brought back, in this report or others.
    """
    rows = [_row(subset) for subset in report.subsets]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plain = [row for row in rows if row.subset.variant == "plain"]
    return environment.get_template("page.html.jinja").render(
        report=report,
        verdict=verdict,
        signers=signers,
        attacks=strongest_first(attacks),
        relearning=relearning_plots(attacks),
        layers=layer_plots(attacks),
        chance=report.subsets[0].chance,
        is_depth=report.suite == DEPTH_SUITE,
        broken=[rule for rule in verdict.rules if rule.outcome not in HOLDS],
        holding=[rule for rule in verdict.rules if rule.outcome in HOLDS],
        rows=rows,
        hazards=[row for row in plain if row.subset.kind == "hazard"],
        utility=sorted(
            (row for row in plain if row.subset.kind == "utility"), key=lambda row: -row.drop
        ),
        variants=[row for row in rows if row.subset.variant != "plain"],
        plain={row.subset.name: row for row in plain},
        letters=LETTERS,
        chat=_chat_rows(report),
    )


def _row(subset: Subset) -> Row:
    pairs = list(zip(subset.base, subset.candidate, strict=False))
    return Row(
        subset=subset,
        base=_bar(subset.base),
        candidate=_bar(subset.candidate),
        lost=sum(base.correct and not candidate.correct for base, candidate in pairs),
        gained=sum(candidate.correct and not base.correct for base, candidate in pairs),
    )


def _bar(items: tuple[ItemResult, ...]) -> Bar:
    k, n = right_answers(items), max(len(items), 1)
    return Bar(
        k=k,
        n=n,
        lower=binomial_lower_bound(k, n, TWO_SIDED),
        upper=binomial_upper_bound(k, n, TWO_SIDED),
        letters=letters(items, CHOICES),
        missing=sum(item.choice is None for item in items),
    )


@dataclass(frozen=True)
class ChatRow:
    """The mean grades of one category."""

    category: str
    base: float | None
    candidate: float | None


def _chat_rows(report: Report) -> list[ChatRow]:
    if report.chat is None:
        return []
    categories = sorted({score.category for score in report.chat.base})
    return [
        ChatRow(name, _mean(report.chat.base, name), _mean(report.chat.candidate, name))
        for name in (*categories, "")
    ]


def _mean(scores: Sequence[ChatScore], category: str) -> float | None:
    """Return the mean grade of a category, of all for an empty name; None without grades."""
    grades = [
        one.score for one in scores if one.score is not None and category in ("", one.category)
    ]
    return sum(grades) / len(grades) if grades else None
