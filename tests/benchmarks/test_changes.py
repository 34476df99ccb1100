"""What unlearning changed, on tensors whose changes are known."""

import pytest
import torch
from safetensors.torch import save_file

from tests.benchmarks.changes import moved, update, updates


def test_a_shift_in_one_direction_is_seen_as_that():
    base = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    shift = torch.zeros(8)
    shift[3] = 2.0
    found = moved(base, base + shift)
    assert found.one_direction == pytest.approx(1)
    assert found.relative == pytest.approx(2 / base.norm(dim=1).mean().item())
    assert moved(base, -base).cosine == pytest.approx(-1)
    assert moved(base, -base).one_direction < 0.5
    assert moved(base, base) == pytest.approx((found.base_norm, found.base_norm, 0, 1, 0), abs=1e-6)


def test_the_rank_of_an_update():
    base = torch.eye(6)
    outer = torch.outer(torch.arange(6.0), torch.ones(6))
    assert update(base, base + outer).stable_rank == pytest.approx(1)
    assert update(base, base + outer).rank_of_90_percent == 1
    assert update(base, 3 * base) == pytest.approx((2, 6, 6))


def test_tensors_are_found_in_every_shard(tmp_path):
    for name, factor in (("base", 1.0), ("candidate", 1.5)):
        (tmp_path / name).mkdir()
        for shard in ("a", "b"):
            tensors = {f"{shard}.weight": factor * torch.eye(3)}
            save_file(tensors, tmp_path / name / f"{shard}.safetensors")
    found = updates(tmp_path / "base", tmp_path / "candidate", ["a.weight", "b.weight"])
    assert {name: one.relative for name, one in found.items()} == {"a.weight": 0.5, "b.weight": 0.5}
