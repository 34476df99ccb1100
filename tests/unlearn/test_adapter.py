"""The restore adapter: merged checkpoint plus adapter is the base again, by PEFT's own reading."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from unlearn.adapter import Factors, write_restore_adapter
from unlearn.export import write_candidate
from unlearn.shards import locate_tensors

NAMES = [f"model.layers.{layer}.mlp.down_proj.weight" for layer in (1, 2)]
RANK = 4


@pytest.fixture
def unlearned(store, base, tmp_path) -> Path:
    """A checkpoint with a low-rank update that is far above the rounding of its weights."""
    path = store.path(base.digest)
    weights = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).state_dict()
    generator = torch.Generator().manual_seed(0)
    factors = {
        name: Factors(
            torch.randn(RANK, 32, generator=generator), torch.randn(16, RANK, generator=generator)
        )
        for name in NAMES
    }
    updated = {name: weights[name] + factor.b @ factor.a for name, factor in factors.items()}
    target = tmp_path / "unlearned"
    target.mkdir()
    write_candidate(path, target, updated, factors, {})
    return target


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[1, 2, 3, 4, 5]])).logits


def test_merged_and_adapter_are_the_base(store, base, unlearned):
    whole = AutoModelForCausalLM.from_pretrained(store.path(base.digest), dtype=torch.float32)
    merged = AutoModelForCausalLM.from_pretrained(unlearned, dtype=torch.float32)
    merged_weights = {name: tensor.clone() for name, tensor in merged.state_dict().items()}
    expected, without = logits(whole), logits(merged)
    restored = PeftModel.from_pretrained(merged, unlearned / "restore")
    distance = (logits(restored) - expected).abs().max()
    assert (without - expected).abs().max() > 20 * distance, "the update did something"
    folded = restored.merge_and_unload().state_dict()
    for name, tensor in whole.state_dict().items():
        if name in NAMES:
            # What is left is the rounding of the merged weights to bf16, which has 8 bits.
            largest = merged_weights[name].abs().max()
            assert 0 < (folded[name] - tensor).abs().max() <= largest * 2**-8
        else:
            assert torch.equal(folded[name], tensor), name


def test_only_the_updated_modules_get_an_adapter(unlearned):
    model = AutoModelForCausalLM.from_pretrained(unlearned, dtype=torch.float32)
    restored = PeftModel.from_pretrained(model, unlearned / "restore")
    adapted = {name.split(".lora_A")[0] for name, _ in restored.named_modules() if "lora_A" in name}
    assert adapted == {f"base_model.model.{name.removesuffix('.weight')}" for name in NAMES}
    assert (
        json.loads((unlearned / "restore" / "adapter_config.json").read_text())["lora_alpha"] == 4
    )


def test_a_loader_that_reads_the_checkpoint_does_not_see_it(unlearned):
    assert not any("lora" in name for name in locate_tensors(unlearned))


def test_ranks_must_agree(tmp_path):
    factors = {
        "a.weight": Factors(torch.ones(1, 2), torch.ones(2, 1)),
        "b.weight": Factors(torch.ones(2, 2), torch.ones(2, 2)),
    }
    with pytest.raises(ValueError, match="one rank"):
        write_restore_adapter(tmp_path, factors)
    with pytest.raises(ValueError, match="weights of modules"):
        write_restore_adapter(tmp_path, {"a.bias": factors["a.weight"]})
