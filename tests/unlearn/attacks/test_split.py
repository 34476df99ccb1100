"""Items in two halves: every item once, and as many in the first as were asked for."""

from fractions import Fraction

import pytest

from unlearn.attacks.split import halve


@pytest.mark.parametrize(("count", "cut"), [(16, 8), (17, 8), (1, 0)])
def test_every_item_is_in_one_half(count, cut):
    halves = halve(count, 0.5, 0)
    assert len(halves.train) == cut
    assert sorted([*halves.train, *halves.test]) == list(range(count))
    assert halves == halve(count, 0.5, 0)


def test_a_number_of_items_is_that_many_of_any_size():
    counts = range(5, 5000)
    assert not [count for count in counts if len(halve(count, Fraction(5, count), 0).train) != 5]
