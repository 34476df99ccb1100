"""Random checkpoints are real ones: sharded, loadable, and the same each time."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.store import CheckpointStore
from tests.benchmarks.random_models import Size, random_base, random_texts

TINY = Size("random-tiny", 3, 32, 64, 2, 1, shard_bytes=40_000, vocabulary=1200)


def test_a_random_checkpoint_loads_and_is_made_once(tmp_path):
    store = CheckpointStore(tmp_path / "store")
    made = random_base(store, TINY)
    assert random_base(store, TINY) == made
    assert random_base(CheckpointStore(tmp_path / "other"), TINY).digest == made.digest
    checkpoint = store.path(made.digest)
    assert len(list(checkpoint.glob("model-*.safetensors"))) > 2
    model, info = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.bfloat16, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert 0.015 < model.model.layers[2].mlp.down_proj.weight.float().std() < 0.025
    tokens = AutoTokenizer.from_pretrained(checkpoint).encode(random_texts(1, 5)[0])
    assert len(tokens) == 5
    assert 0 not in tokens, "no word is unknown"
    assert model(input_ids=torch.tensor([tokens])).logits.isfinite().all()
