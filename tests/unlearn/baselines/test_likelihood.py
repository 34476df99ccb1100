"""Likelihoods and divergences against numbers worked out by hand."""

import math

import pytest
import torch

from unlearn.baselines.likelihood import divergence, negative_log_likelihood, predicted

MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
TOKENS = torch.tensor([[0, 1, 0], [1, 1, 0]])


def logits(*odds: float) -> torch.Tensor:
    """Logits (2, 3, 2) with these odds of token 1 against token 0, the same for both rows."""
    return torch.tensor([[[0.0, math.log(odd)] for odd in odds]] * 2)


def test_what_counts_are_the_real_tokens_after_the_prompt():
    assert predicted(MASK).tolist() == [[1, 1], [1, 0]]
    assert predicted(MASK, torch.tensor([2, 1])).tolist() == [[0, 1], [1, 0]]
    assert predicted(MASK, 3).sum() == 0


def test_the_likelihood_is_a_mean_over_tokens_and_then_over_texts():
    # p(1) is 3/4 after the first token and 1/5 after the second.
    given = logits(3.0, 0.25, 7.0)
    first = (-math.log(3 / 4) - math.log(4 / 5)) / 2  # Row 0 goes on with 1, then 0.
    second = -math.log(3 / 4)  # Row 1 goes on with 1; what follows is padding.
    value = negative_log_likelihood(given, TOKENS, predicted(MASK)).item()
    assert value == pytest.approx((first + second) / 2)


def test_the_divergence_is_that_of_teacher_from_student():
    teacher, student = logits(3.0, 1.0, 9.0), logits(1.0, 1.0, 9.0)
    first = 3 / 4 * math.log(2 * 3 / 4) + 1 / 4 * math.log(2 * 1 / 4)
    value = divergence(teacher, student, predicted(MASK)).item()
    assert value == pytest.approx((first / 2 + first) / 2)
    assert divergence(teacher, teacher, predicted(MASK)).item() == 0


def test_a_text_of_one_token_counts_as_nothing():
    mask = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    value = negative_log_likelihood(logits(3.0, 1.0, 1.0), TOKENS, predicted(mask)).item()
    assert value == pytest.approx(-math.log(3 / 4) / 2)
