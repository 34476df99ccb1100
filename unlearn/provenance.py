"""Where a result comes from: the code's commit, the environment, and what the run found out."""

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from models.documents import Digest, digest_of, file_sha256
from models.manifest import (
    Changes,
    Environment,
    FileEntry,
    Lineage,
    RestoreAdapter,
    digest_below,
)
from unlearn.adapter import RESTORE

PACKAGES = (
    *("accelerate", "datasets", "numpy", "pyarrow", "safetensors", "tokenizers", "torch"),
    "transformers",
)
"""Distributions that a run's numbers pass through."""


def code_commit() -> str:
    """Return the commit of this code, with `+dirty` when the tree has changes, or `unknown`."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+dirty" if changes else commit


def read_environment() -> Environment:
    """Return what this process's numbers may depend on, beyond the recipe and the code."""
    import torch

    facts = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "torch_build": digest_of(torch.__config__.show()),
    }
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
        facts["gpu"] = f"{torch.cuda.device_count()} x {', '.join(sorted(names))}"
        facts["cuda"] = str(torch.version.cuda)
    for package in PACKAGES:
        facts[f"package.{package}"] = _version(package)
    return Environment(digest=digest_of(facts), facts=facts)


def finish_lineage(
    lineage: Lineage,
    staged: Path,
    changes: Changes,
    trained: Iterable[str],
    data_order: Digest | None,
) -> Lineage:
    """Return a plan's lineage with what is known after the run.

    Args:
        lineage: What the plan says.
        staged: The candidate, written but not yet stored.
        changes: What `write_candidate` found to differ.
        trained: The tensors that the run trained.
        data_order: The digest of the texts that each step read, in order.
    """
    return Lineage.model_validate(
        {
            **dict(lineage),
            "changes": changes,
            "trained_tensors": tuple(sorted(trained)),
            "restore": _restore_adapter(staged, lineage.rank),
            "data_order": data_order,
            "environment": read_environment(),
        }
    )


def _restore_adapter(staged: Path, rank: int) -> RestoreAdapter | None:
    if not (staged / RESTORE).is_dir():
        return None
    files = [
        FileEntry(
            path=f"{RESTORE}/{path.name}", sha256=file_sha256(path), bytes=path.stat().st_size
        )
        for path in sorted((staged / RESTORE).iterdir())
    ]
    return RestoreAdapter(path=RESTORE, rank=rank, digest=digest_below(RESTORE, files))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    """Return the processor's name; matrix libraries choose their kernels by it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else os.uname().machine
