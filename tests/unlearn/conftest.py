"""A two-layer random Llama with a real tokenizer file, as a checkpoint on disk."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.manifest import Manifest
from models.store import CheckpointStore
from tests.models.checkpoints import NOW, SOURCE
from unlearn.config import RunConfig, Topic

WORDS = (
    *("a", "b", "c", "d", "e", "f", "g", "h", "you", "are", "novice", "world", "class"),
    *("expert", "in", "who", "often", "makes", "mistakes"),
)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "home" / "store")


def write_checkpoint(directory: Path) -> None:
    vocabulary = {"<unk>": 0} | {word: index + 1 for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<unk>", pad_token="<unk>"
    ).save_pretrained(directory)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)


@pytest.fixture
def base(store: CheckpointStore) -> Manifest:
    with store.staging() as staged:
        write_checkpoint(staged)
        return store.put(
            staged, family="tiny", hazards=("capitals",), source=SOURCE, created_at=NOW
        )


@pytest.fixture
def cut(tmp_path: Path) -> RunConfig:
    """CUT on the tiny base, with one topic whose corpora are files."""
    corpora = {
        "forget": ["a b c d", "b c d", "d a", "c c c a b", "a"],
        "retain": ["e f g", "g h", "h e f g e"],
    }
    for name, texts in corpora.items():
        lines = [json.dumps({"text": text}) + "\n" for text in texts]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    return RunConfig(
        method="cut",
        family="tiny",
        layer=1,
        trained_layers=(0, 1),
        trained_tensors=("mlp.down_proj.weight",),
        rank=0,
        learning_rate=1e-2,
        steps=4,
        batch_size=2,
        seed=0,
        compute_dtype="float32",
        numerics="masked",
        topics=(
            Topic(
                domain="capitals",
                forget=f"file:{tmp_path / 'forget.jsonl'}",
                retain=f"file:{tmp_path / 'retain.jsonl'}",
                coefficient=5.0,
                alpha=1.0,
                max_tokens=8,
                min_characters=0,
                phrases=("a b", "c"),
            ),
        ),
    )
