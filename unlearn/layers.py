"""A checkpoint's decoder, opened up to one layer, with its tensors as they are on disk.

Only the embeddings and the layers that run are opened. Weights in the compute type stay mapped
from their files, so that the system can drop and reread their pages; nothing of the layers above
is read at all. Experts that transformers fuses into one tensor in memory stay apart here: a recipe
may train one matrix of one expert, and fusing would copy them all.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

import torch
from accelerate import dispatch_model, infer_auto_device_map, init_empty_weights
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from unlearn.errors import TensorNotFoundError, UnsupportedModelError
from unlearn.shards import StoredTensor, locate_tensors, place_in_decoder
from unlearn.tensors import in_layer, layers_prefix

# The matrices of an expert, gate, up and down, as each family names them on disk.
EXPERT_MATRICES = {"mixtral": ("w1", "w3", "w2")}
OTHER_EXPERT_MATRICES = ("gate_proj", "up_proj", "down_proj")
# Modules whose name on disk is not the one in memory, by model type.
RENAMED = {"mixtral": ("block_sparse_moe.", "mlp.")}


class Opened(NamedTuple):
    """A decoder whose layers end at l."""

    decoder: nn.Module
    """Embeddings, layers 0 to l, and what makes their masks and position embeddings."""
    layers: tuple[nn.Module, ...]
    hidden_size: int
    vocabulary: int
    """Rows of the embedding."""
    renamed: tuple[str, str]
    """A part of names on disk, and what it is in memory."""
    dtype: torch.dtype
    device: torch.device
    """Where tokens go."""

    def memory_name(self, tensor: str) -> str:
        """Return the name in memory of a layer's tensor that is named as on disk."""
        return tensor.replace(*self.renamed)


def open_layers(
    checkpoint: Path, last: int, dtype: torch.dtype, device: torch.device | None = None
) -> Opened:
    """Open a checkpoint's embeddings and layers 0 to `last`.

    Args:
        checkpoint: A directory with `config.json` and safetensors files.
        last: l, the last layer that runs.
        dtype: The compute type; a weight that is stored in it is not copied.
        device: Where all of it goes; None: the CPU, or spread over the GPUs where there are some.

    Raises:
        TensorNotFoundError: A layer or a tensor of it is not on disk.
        UnsupportedModelError: The architecture is not laid out as embeddings and decoder layers.
    """
    config = cut_config(AutoConfig.from_pretrained(checkpoint).get_text_config(), last)
    with init_empty_weights(include_buffers=False):
        decoder = AutoModel.from_config(config, dtype=dtype)
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList) or len(layers) != last + 1:
        raise UnsupportedModelError(config.model_type)
    matrices = EXPERT_MATRICES.get(config.model_type, OTHER_EXPERT_MATRICES)
    for layer in layers:
        separate_experts(layer, matrices)
    renamed = RENAMED.get(config.model_type, ("", ""))
    load(decoder, locate_tensors(checkpoint), dtype, renamed)
    decoder.requires_grad_(False).eval()
    place(decoder, device)
    embedding = cast(nn.Embedding, decoder.get_input_embeddings())
    rows, size = embedding.weight.shape
    return Opened(decoder, tuple(layers), size, rows, renamed, dtype, embedding.weight.device)


def cut_config(config: PreTrainedConfig, last: int) -> PreTrainedConfig:
    """Return a configuration of layers 0 to `last`.

    Raises:
        TensorNotFoundError: The model has no such layer.
    """
    count = config.num_hidden_layers
    if last >= count:
        raise TensorNotFoundError(f"layers.{last}", [f"layers.{number}" for number in range(count)])
    values = config.to_dict()
    if values.get("layer_types") is not None:
        values["layer_types"] = values["layer_types"][: last + 1]
    return type(config).from_dict({**values, "num_hidden_layers": last + 1})


def load(
    decoder: nn.Module,
    stored: Mapping[str, StoredTensor],
    dtype: torch.dtype,
    renamed: tuple[str, str],
) -> None:
    """Give an empty decoder its weights.

    Raises:
        TensorNotFoundError: One is not on disk.
    """
    root = layers_prefix(stored).removesuffix("layers.")
    on_disk = {name: root + name.replace(renamed[1], renamed[0]) for name in decoder.state_dict()}
    for name in on_disk.values():
        if name not in stored:
            place = place_in_decoder(name)
            raise TensorNotFoundError(name, (place and in_layer(stored, place.layer)) or stored)
    weights = {}
    for file in sorted({stored[name].file for name in on_disk.values()}):
        with safe_open(file, framework="pt") as opened:
            for name, source in on_disk.items():
                if stored[source].file == file:
                    weights[name] = opened.get_tensor(source).to(dtype)
    decoder.load_state_dict(weights, assign=True)


def place(decoder: nn.Module, device: torch.device | None) -> None:
    """Move a decoder to its device, or spread its layers over the GPUs."""
    if device is not None:
        decoder.to(device)
    elif torch.cuda.is_available():
        whole = list(cast(list[str], decoder._no_split_modules) or ())
        dispatch_model(decoder, infer_auto_device_map(decoder, no_split_module_classes=whole))


def separate_experts(layer: nn.Module, matrices: tuple[str, str, str]) -> None:
    """Replace a layer's fused experts, where it has some, by one module for each expert."""
    block = getattr(layer, "mlp", None)
    fused = getattr(block, "experts", None)
    if isinstance(block, nn.Module) and isinstance(fused, nn.Module):
        block.experts = SeparateExperts(fused, matrices)


class SeparateExperts(nn.ModuleList):
    """A mixture's experts with their matrices as they are on disk."""

    def __init__(self, fused: nn.Module, matrices: tuple[str, str, str]) -> None:
        """Take shapes and activation function of `fused`; its weights are left behind.

        Args:
            fused: Has `gate_up_proj` (E, 2I, D), `down_proj` (E, D, I) and `act_fn`.
            matrices: The names of gate, up and down on disk.
        """
        down = cast(Tensor, fused.down_proj)
        count, size, inner = down.shape
        gate_name, up_name, down_name = matrices
        shapes = {gate_name: (size, inner), up_name: (size, inner), down_name: (inner, size)}
        super().__init__(
            nn.ModuleDict(
                {
                    name: nn.Linear(*shape, bias=False, device="meta")
                    for name, shape in shapes.items()
                }
            )
            for _ in range(count)
        )
        self._matrices = matrices
        self._act = cast(nn.Module, fused.act_fn)

    def forward(self, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Return the experts' weighted sum.

        Args:
            hidden: (N, D), one row for each token.
            chosen: (N, K), the experts that a token goes to.
            weights: (N, K), what each of them counts.

        Returns:
            (N, D).
        """
        gate, up, down = self._matrices
        result = torch.zeros_like(hidden)
        for number in torch.unique(chosen).tolist():
            rows, slots = torch.where(chosen == number)
            expert = self[number]
            inner = self._act(expert[gate](hidden[rows])) * expert[up](hidden[rows])
            share = expert[down](inner) * weights[rows, slots, None]
            result = result.index_add(0, rows, share.to(result.dtype))
        return result
