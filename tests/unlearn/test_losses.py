"""The losses against numbers worked out by hand."""

import pytest
import torch

from unlearn.batches import make_batch
from unlearn.losses import forget_target, gauges, masked_mse, total_loss
from unlearn.steering import contrastive_vectors, mean_norm, random_vector


def test_masked_mse_leaves_padding_out():
    activations = torch.tensor([[[1.0, 3.0], [9.0, 9.0]]])  # (1, 2, 2)
    target = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    # First token: (1 + 4) / 2 = 2.5; second: (81 + 81) / 2 = 81.
    assert masked_mse(activations, target, torch.tensor([[1, 0]]), 1).item() == 2.5
    assert masked_mse(activations, target, torch.tensor([[1, 1]]), 2).item() == (2.5 + 81) / 2
    # Half of a batch whose other half another process has.
    assert masked_mse(activations, target, torch.tensor([[1, 0]]), 2).item() == 1.25


def test_targets_of_cut_and_rmu():
    vector = torch.tensor([0.6, 0.8])
    frozen = torch.tensor([[[1.0, 1.0]]])
    assert torch.allclose(forget_target(frozen, vector, 10.0), torch.tensor([[[7.0, 9.0]]]))
    assert torch.allclose(forget_target(None, vector, 10.0), torch.tensor([6.0, 8.0]))


def test_alpha_weighs_what_is_retained():
    assert total_loss(torch.tensor(2.0), torch.tensor(3.0), 100.0).item() == 302.0


def test_contrastive_vectors_point_from_expert_to_novice():
    states = {
        "You are a novice in maps who often makes mistakes.": torch.tensor([3.0, 5.0]),
        "You are a world-class expert in maps.": torch.tensor([0.0, 1.0]),
    }
    vectors = contrastive_vectors(["maps"], states.__getitem__)
    assert torch.allclose(vectors, torch.tensor([[0.6, 0.8]]))


def test_random_vector_is_a_unit_vector_of_the_positive_orthant_and_repeats():
    first = random_vector(64, torch.Generator().manual_seed(3))
    again = random_vector(64, torch.Generator().manual_seed(3))
    other = random_vector(64, torch.Generator().manual_seed(4))
    assert first.shape == (1, 64)
    assert first.norm().item() == pytest.approx(1.0, abs=1e-6)
    assert (first >= 0).all()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_gauges_are_means_over_real_tokens():
    forget = torch.tensor([[[3.0, 4.0], [6.0, 8.0]], [[0.0, 1.0], [9.0, 9.0]]])
    retain = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
    frozen = torch.tensor([[[2.0, 0.0], [1.0, -1.0]]])
    seen = gauges(forget, make_batch([[1, 2], [3]]), retain, frozen, make_batch([[1, 2]]))
    assert seen.forget_norm.item() == pytest.approx((5 + 10 + 1) / 3)
    assert seen.retain_cosine.item() == pytest.approx((1 + 0) / 2)


def test_mean_norm_is_over_real_tokens_of_all_batches():
    states = [torch.tensor([[[3.0, 4.0], [9.0, 9.0]]]), torch.tensor([[[0.0, 1.0]]])]
    masks = [torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0]])]
    assert mean_norm(states, masks) == pytest.approx(3.0)
