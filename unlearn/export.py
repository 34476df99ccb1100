"""Writes a candidate: the base with the trained tensors replaced."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlearn.adapter import Factors


def write_candidate(
    base: Path,
    target: Path,
    updated: Mapping[str, Tensor],
    factors: Mapping[str, Factors],
    vectors: Mapping[str, Tensor],
) -> None:
    """Write the base with some tensors replaced."""
    for path in base.iterdir():
        if path.name == "manifest.json":
            continue
        if path.suffix != ".safetensors":
            shutil.copyfile(path, target / path.name)
            continue
        tensors = load_file(path)
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata()
        for name in updated.keys() & tensors.keys():
            tensors[name] = updated[name].to(tensors[name].dtype).contiguous()
        save_file(tensors, target / path.name, metadata=metadata)
