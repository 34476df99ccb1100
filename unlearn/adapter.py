"""The restore adapter: the negative of a low-rank update, in PEFT's format.

An engine that serves the unlearned weights undoes the update for the requests that name the
adapter, and for no other: what is lost with the adapter is the knowledge, not the protection.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import save
from torch import Tensor

from models.documents import canonical_json

RESTORE = "restore"
"""The adapter's directory within the checkpoint."""


class Factors(NamedTuple):
    """The low-rank update of one tensor: W + b @ a."""

    a: Tensor
    """(r, in), fp32."""
    b: Tensor
    """(out, r), fp32."""


def write_restore_adapter(target: Path, factors: Mapping[str, Factors]) -> None:
    """Write the adapter that takes an update back: -b and a, scaled by 1.

    It stays in fp32: it is small, and a rounded one would miss the update by its rounding.

    Args:
        target: The checkpoint's directory; the adapter goes to `restore/` in it.
        factors: The update's factors by the tensor's name on disk, all of one rank.

    Raises:
        ValueError: A name is no matrix of a module, or the ranks differ.
        OSError: It could not be written.
    """
    ranks = {factor.a.shape[0] for factor in factors.values()}
    if len(ranks) != 1:
        raise ValueError(f"one adapter has one rank, not {sorted(ranks)}")
    modules = {name: name.removesuffix(".weight") for name in factors}
    if not all(name.endswith(".weight") for name in factors):
        raise ValueError(f"not all of {sorted(factors)} are weights of modules")
    tensors = {}
    for name, factor in factors.items():
        key = f"base_model.model.{modules[name]}"
        tensors[f"{key}.lora_A.weight"] = factor.a.detach().float().cpu().contiguous()  # (r, in)
        tensors[f"{key}.lora_B.weight"] = -factor.b.detach().float().cpu().contiguous()  # (out, r)
    directory = target / RESTORE
    directory.mkdir()
    (directory / "adapter_config.json").write_bytes(
        canonical_json(adapter_config(sorted(modules.values()), ranks.pop()))
    )
    # Not save_file: what it raises on a full disk is no OSError.
    weights = save(tensors, metadata={"format": "pt"})
    (directory / "adapter_model.safetensors").write_bytes(weights)


def adapter_config(modules: list[str], rank: int) -> dict[str, object]:
    """Return PEFT's configuration: alpha equals the rank, so that the scaling alpha / r is 1.

    Args:
        modules: The full names of the changed modules, so that no other one gets an adapter.
        rank: r.
    """
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "target_modules": modules,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
