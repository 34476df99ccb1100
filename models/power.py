"""What a number of items and a limit can and cannot prove, for each attempt.

A candidate passes when the one-sided Clopper-Pearson bound of its accuracy is at most the limit,
which is the same as: a candidate whose true accuracy is the limit would score as low with a
probability of at most the attempt's error. So everything here is a binomial probability.
"""

from typing import NamedTuple

from scipy.stats import binom

from models.intervals import attempt_alpha

MAX_ITEMS = 20_000
WANTED = 0.9
"""How likely it must be that enough items let a candidate pass."""


class Power(NamedTuple):
    """What one attempt can prove."""

    attempt: int
    alpha: float
    """The chance of a wrong PASS that this attempt is given."""
    most: int | None
    """The most right answers that pass; None when not even zero would."""
    at_truth: float
    """The probability that a candidate of the given true accuracy passes."""
    items_needed: int | None
    """The fewest items with which that probability is never below `WANTED`; None when 20,000 are
    too few."""


def power(n: int, tau: float, *, truth: float, alpha: float, attempt: int) -> Power:
    """Return what an attempt with `n` items and the limit `tau` can prove.

    Args:
        n: Items.
        tau: The limit of the accuracy's upper bound.
        truth: The true accuracy of a candidate, for example chance.
        alpha: The policy's error over all attempts.
        attempt: 1, 2, …
    """
    share = attempt_alpha(alpha, attempt)
    most = most_passing(n, tau, share)
    return Power(
        attempt=attempt,
        alpha=share,
        most=most,
        at_truth=pass_probability(n, most, truth),
        items_needed=_items_needed(tau, truth, share),
    )


def most_passing(n: int, tau: float, alpha: float) -> int | None:
    """Return the most right answers of `n` whose upper bound is at most `tau`, or None."""
    most = int(binom.ppf(alpha, n, tau))
    while most >= 0 and binom.cdf(most, n, tau) > alpha:
        most -= 1
    return most if most >= 0 else None


def pass_probability(n: int, most: int | None, truth: float) -> float:
    """Return the probability of at most `most` right answers at a true accuracy."""
    return 0.0 if most is None else float(binom.cdf(most, n, truth))


def sparkline(shares: list[float]) -> str:
    """Return shares between 0 and 1 as a line of bars."""
    bars = " ▁▂▃▄▅▆▇█"
    return "".join(bars[round(share * (len(bars) - 1))] for share in shares)


def _items_needed(tau: float, truth: float, alpha: float) -> int | None:
    """Return one more than the largest number of items that is too small.

    The probability is a saw-tooth in the number of items, so the first that suffices is not enough.
    """
    if truth >= tau:
        return None
    numbers = list(range(1, MAX_ITEMS + 1))
    most = binom.ppf(alpha, numbers, tau)
    most = most - (binom.cdf(most, numbers, tau) > alpha)
    enough = binom.cdf(most, numbers, truth) >= WANTED
    too_few = [n for n, suffices in zip(numbers, enough, strict=True) if not suffices]
    return None if too_few[-1:] == [MAX_ITEMS] else (too_few[-1] + 1 if too_few else 1)
