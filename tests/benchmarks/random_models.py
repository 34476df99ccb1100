"""Llama checkpoints with random weights, written tensor by tensor, so that their size is no matter.

Made once and kept in a store of the benchmark's own; the weights are bf16 and drawn from a seed.
"""

import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.manifest import Manifest, Source
from models.store import CheckpointStore

WORDS = tuple(f"w{number}" for number in range(1000))
SEED = 0
BYTES = 2  # of a bf16 number


class Size(NamedTuple):
    """What a random model is called and how large it is."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    shard_bytes: int
    vocabulary: int = 4096

    @property
    def config(self) -> LlamaConfig:
        """The model's configuration."""
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            max_position_embeddings=512,
            tie_word_embeddings=False,
            dtype="bfloat16",
        )


# 32 layers, 1.22 billion parameters.
BILLION = Size("random-1b", 32, 1536, 6144, 12, 12, shard_bytes=1_000_000_000)
# 32 layers, 3.1 billion parameters: 6.2 GB in seven shards.
LARGE = Size("random-3b", 32, 2560, 9216, 20, 20, shard_bytes=1_000_000_000)


def random_base(store: CheckpointStore, size: Size) -> Manifest:
    """Return a random model's manifest; it is made when the store does not have it."""
    for manifest in store.manifests():
        if manifest.family == size.name and manifest.is_base:
            return manifest
    with store.staging() as staged:
        _write_tokenizer(staged)
        size.config.save_pretrained(staged)
        write_weights(staged, size)
        return store.put(
            staged,
            family=size.name,
            hazards=("nothing",),
            source=Source(
                name=size.name, package="none", version="1", sha256="0" * 64, license="none"
            ),
            created_at=datetime.now(UTC),
        )


def random_texts(count: int, words: int) -> tuple[str, ...]:
    """Return texts of that many words of the random models' vocabulary."""
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.randint(len(WORDS), (count, words), generator=generator).tolist()
    return tuple(" ".join(WORDS[number] for number in row) for row in drawn)


def write_weights(directory: Path, size: Size) -> None:
    """Write the shards and their index; one tensor is in memory at a time."""
    with torch.device("meta"):
        shapes = {n: tuple(t.shape) for n, t in LlamaForCausalLM(size.config).state_dict().items()}
    shards = _shards(shapes, size.shard_bytes)
    generator = torch.Generator().manual_seed(SEED)
    weight_map = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        weight_map.update(dict.fromkeys(names, file))
        _write_shard(directory / file, {name: shapes[name] for name in names}, generator)
    total = sum(map(_bytes, shapes.values()))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def _shards(shapes: dict[str, tuple[int, ...]], shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for name, shape in shapes.items():
        if shards[-1] and _bytes(shape) > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= _bytes(shape)
    return shards


def _write_shard(
    path: Path, shapes: dict[str, tuple[int, ...]], generator: torch.Generator
) -> None:
    """Write a safetensors file: the header's length, the header as JSON, the numbers."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in shapes.items():
        end = start + _bytes(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
        start = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(encoded)))
        stream.write(encoded)
        for tensor in _tensors(shapes, generator):
            stream.write(tensor.view(torch.uint8).numpy().data)


def _tensors(shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Iterator[Tensor]:
    for shape in shapes.values():
        if len(shape) == 1:
            yield torch.ones(shape, dtype=torch.bfloat16)  # A norm's weight.
        else:
            yield torch.randn(shape, generator=generator).mul_(0.02).to(torch.bfloat16)


def _bytes(shape: tuple[int, ...]) -> int:
    return BYTES * torch.Size(shape).numel()


def _write_tokenizer(directory: Path) -> None:
    vocabulary = {"<unk>": 0} | {word: index + 1 for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<unk>", pad_token="<unk>"
    ).save_pretrained(directory)
