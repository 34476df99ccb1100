"""Data-parallel runs: each process takes its rows of every batch.

    airlock unlearn run --processes 3
      rank 0, this process ── starts ──→ rank 1, rank 2: python -m unlearn.worker JOB RANK SIZE

Losses are sums over counted positions divided by the whole batch's count, so what processes add up
does not depend on how many they are, but for the order in which floats are summed. Only rank 0
saves, reports and stores.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from unlearn.batches import Share
from unlearn.errors import ProcessLostError

TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Group:
    """The processes of a run, seen from one of them."""

    rank: int
    size: int

    @property
    def share(self) -> Share:
        """The rows that this process takes."""
        return Share(self.rank, self.size)

    @property
    def is_leader(self) -> bool:
        """Whether this process saves, reports and stores."""
        return self.rank == 0

    @property
    def device(self) -> torch.device | None:
        """Where this process computes; None: where `open_layers` finds best."""
        if self.size == 1:
            return None
        if torch.cuda.is_available():
            return torch.device("cuda", self.rank % torch.cuda.device_count())
        return torch.device("cpu")

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes.

        Raises:
            ProcessLostError: Another process has ended.
        """
        if self.size == 1:
            return
        try:
            for tensor in tensors:
                dist.all_reduce(tensor)
        except RuntimeError as error:
            raise ProcessLostError from error


ALONE = Group(0, 1)


@contextlib.contextmanager
def lead(size: int, job: str) -> Iterator[Group]:
    """Start the other processes of a run and yield the group; they are gone afterwards.

    Args:
        size: How many processes there are, this one included.
        job: What they run, as `unlearn.worker` reads it.

    Raises:
        ProcessLostError: One of them could not be reached.
    """
    if size == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory(prefix="airlock-") as scratch:
        file = Path(scratch) / "job.json"
        file.write_text(job)
        words = [sys.executable, "-m", "unlearn.worker", str(file)]
        others = [subprocess.Popen([*words, str(rank), str(size)]) for rank in range(1, size)]
        try:
            with joined(file, 0, size) as group:
                yield group
        finally:
            for other in others:
                other.terminate()
            for other in others:
                other.wait()


@contextlib.contextmanager
def joined(file: Path, rank: int, size: int) -> Iterator[Group]:
    """Meet the other processes beside a file, and leave them at the end.

    Raises:
        ProcessLostError: They did not come.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // size))  # All together fill the machine, no more.
    meeting = f"file://{file.with_name('meeting').resolve()}"
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(
            backend, init_method=meeting, rank=rank, world_size=size, timeout=TIMEOUT
        )
    except RuntimeError as error:
        raise ProcessLostError from error
    try:
        yield Group(rank, size)
    finally:
        dist.destroy_process_group()
        torch.set_num_threads(threads)
