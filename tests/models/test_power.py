"""What the power table says is what the judge does."""

import pytest

from models.intervals import attempt_alpha, binomial_upper_bound
from models.power import most_passing, pass_probability, power, sparkline


@pytest.mark.parametrize("attempt", [1, 2, 7])
@pytest.mark.parametrize(("n", "tau"), [(314, 0.4), (408, 0.32), (1273, 0.35), (1987, 0.32)])
def test_the_most_that_passes_is_where_the_bound_meets_the_limit(n: int, tau: float, attempt: int):
    alpha = attempt_alpha(0.05, attempt)
    most = most_passing(n, tau, alpha)
    assert binomial_upper_bound(most, n, 1 - alpha) <= tau
    assert binomial_upper_bound(most + 1, n, 1 - alpha) > tau
    assert pass_probability(n, most, tau) <= alpha


def test_against_known_values():
    # With the whole error of 0.05, 408 items at chance pass 0.32 with a probability of 0.92, and
    # at most at an accuracy of 0.279.
    most = most_passing(408, 0.32, 0.05)
    assert most / 408 == pytest.approx(0.279, abs=1e-3)
    assert pass_probability(408, most, 0.25) == pytest.approx(0.92, abs=5e-3)


def test_ten_items_prove_nothing():
    row = power(5, 0.4, truth=0.25, alpha=0.05, attempt=1)
    assert (row.most, row.at_truth) == (None, 0.0)


def test_the_items_needed_suffice_and_one_fewer_does_not():
    row = power(408, 0.32, truth=0.25, alpha=0.05, attempt=1)
    for n, enough in ((row.items_needed, True), (row.items_needed - 1, False)):
        given = power(n, 0.32, truth=0.25, alpha=0.05, attempt=1)
        assert (given.at_truth >= 0.9) is enough
    assert power(408, 0.32, truth=0.32, alpha=0.05, attempt=1).items_needed is None
    assert power(408, 0.251, truth=0.25, alpha=0.05, attempt=1).items_needed is None


def test_a_sparkline_rises():
    assert sparkline([0.0, 0.5, 1.0]) == " ▄█"
