"""The bounds that the gate's verdict rests on, and the error that each attempt may spend."""

import math

from scipy.special import betaincinv, ndtri


def attempt_alpha(alpha: float, attempt: int) -> float:
    """Return the share of the error `alpha` that one attempt may spend: alpha * 6 / (pi k)^2.

    The shares of all attempts, however many, add up to `alpha`, so by the union bound a candidate
    that is not safe passes in any of them with at most that probability, whether or not the
    attempts are independent.

    Args:
        alpha: The chance of a wrong PASS that the policy allows over all attempts.
        attempt: 1, 2, …

    Source: the sum of 1 / k^2 is pi^2 / 6 (Euler); spending by a convergent series as in Foster and
    Stine, JRSS B 70 (2008), without their earning back.
    """
    return alpha * 6 / (math.pi * attempt) ** 2


def binomial_upper_bound(k: int, n: int, confidence: float) -> float:
    """Return the one-sided Clopper-Pearson upper bound of a proportion.

    Args:
        k: Successes.
        n: Trials, at least one.
        confidence: For example 0.95: the true proportion exceeds the bound 5 % of the time at most.

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    return 1.0 if k == n else float(betaincinv(k + 1, n - k, confidence))


def binomial_lower_bound(k: int, n: int, confidence: float) -> float:
    """Return the one-sided Clopper-Pearson lower bound of a proportion."""
    return 0.0 if k == 0 else float(betaincinv(k, n - k + 1, 1 - confidence))


def paired_drop_upper_bound(lost: int, gained: int, n: int, confidence: float) -> float:
    """Return the one-sided upper bound of a drop in accuracy, paired by item.

    The score interval of a difference of paired proportions: the largest drop that a score test at
    that level would not reject. Unlike the Wald interval it keeps its level when few items change.

    Args:
        lost: Items that the base answers and the candidate does not.
        gained: The other way round.
        n: All items.
        confidence: For example 0.95.

    Source: Tango, Statistics in Medicine 17 (1998), 891-908, equations 8 to 10.
    """
    z = float(ndtri(confidence))

    def score(drop: float) -> float:
        # The constrained maximum-likelihood estimate of P(gained), given the drop.
        a = 2.0 * n
        b = -lost - gained + (2 * n - lost + gained) * drop
        c = -gained * drop * (1 - drop)
        q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = n * (2 * q + drop * (1 - drop))
        distance = lost - gained - n * drop
        if variance <= 0:
            return 0.0 if distance == 0 else math.copysign(math.inf, distance)
        return distance / math.sqrt(variance)

    low, high = (lost - gained) / n, 1.0
    for _ in range(60):  # The score falls as the drop grows; 60 halvings exceed double precision.
        middle = (low + high) / 2
        if score(middle) > -z:
            low = middle
        else:
            high = middle
    return high
