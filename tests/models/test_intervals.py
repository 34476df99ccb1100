"""The bounds against published values, and the error that attempts may spend."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.intervals import (
    attempt_alpha,
    binomial_lower_bound,
    binomial_upper_bound,
    paired_drop_upper_bound,
)


def test_clopper_pearson_against_known_values():
    # 0 of n: 1 - alpha^(1/n). 10 of 100, one-sided 97.5 %: 0.0490 to 0.1762 (the textbook case).
    assert binomial_upper_bound(0, 100, 0.95) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert binomial_upper_bound(10, 100, 0.975) == pytest.approx(0.1762, abs=1e-4)
    assert binomial_lower_bound(10, 100, 0.975) == pytest.approx(0.0490, abs=1e-4)
    assert binomial_upper_bound(5, 5, 0.95) == 1.0
    assert binomial_lower_bound(0, 5, 0.95) == 0.0


def test_paired_bound_against_tango_1998():
    # Tango's crossover example: 12 and 2 discordant pairs of 50, 95 % two-sided: 0.0611 to 0.3447.
    assert paired_drop_upper_bound(12, 2, 50, 0.975) == pytest.approx(0.3447, abs=1e-4)
    assert -paired_drop_upper_bound(2, 12, 50, 0.975) == pytest.approx(0.0611, abs=1e-4)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(60, 200))
def test_paired_bound_is_above_the_estimate_and_grows_with_losses(lost, gained, n):
    bound = paired_drop_upper_bound(lost, gained, n, 0.95)
    assert (lost - gained) / n <= bound <= 1
    assert paired_drop_upper_bound(lost + 1, gained, n, 0.95) >= bound


@given(st.floats(0.001, 0.2), st.integers(1, 5000))
def test_all_attempts_together_spend_at_most_alpha(alpha: float, attempts: int):
    spent = math.fsum(attempt_alpha(alpha, attempt) for attempt in range(1, attempts + 1))
    assert spent <= alpha
    if attempts > 100:
        assert spent > 0.99 * alpha, "nor is much of it wasted"
