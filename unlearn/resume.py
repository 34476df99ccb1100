"""A run's state on disk, so that a run that was killed goes on and ends with the same bits.

    <home>/runs/<hex>/state.safetensors

Masters and the optimiser's moments, with the step that they stand behind. Data order and draws need
no state: they are functions of seed and step.
"""

import contextlib
import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.documents import Digest
from models.scratch import scratch, sweep
from unlearn.errors import DiskFullError

STATE = "state.safetensors"
SCRATCH = ".new-"
# Saving may cost this share of a run's time.
COST = 0.02
# Before anything has been saved its cost is not known; a disk writes at least this much a second.
ASSUMED_BYTES_PER_SECOND = 200e6


class Progress:
    """Saves and restores a run."""

    def __init__(
        self,
        directory: Path,
        run: Digest,
        masters: Mapping[str, Tensor],
        optimizer: torch.optim.AdamW,
        *,
        every: int | None = None,
    ) -> None:
        """Keep state in `directory`.

        Args:
            directory: Of this run alone.
            run: What the run is; a state of another one is not taken.
            masters: The trained tensors' fp32 masters, by name; the optimiser's only parameters,
                in its order.
            optimizer: AdamW.
            every: Save at each so many steps; None: as often as costs no more than 2 % of the time.
        """
        self._path = directory / STATE
        self._run = run
        self._masters = masters
        self._optimizer = optimizer
        self._every = every
        self._saved_at = time.monotonic()
        self._seconds = 3 * sum(m.nbytes for m in masters.values()) / ASSUMED_BYTES_PER_SECOND

    @torch.no_grad()
    def restore(self) -> int:
        """Take up the saved state, if there is a whole one, and return its step, or 0."""
        sweep(self._path.parent, SCRATCH)
        try:
            with safe_open(self._path, framework="pt") as opened:
                metadata = opened.metadata() or {}
                if metadata.get("run") != self._run:
                    return 0
                tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return 0
        for master_name, master in self._masters.items():
            master.copy_(tensors[f"master {master_name}"])
        state = self._optimizer.state_dict()
        state["state"] = {
            number: {key: tensors[f"{key} {name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for number, name in enumerate(self._masters)
        }
        self._optimizer.load_state_dict(state)
        return int(metadata["step"])

    def after(self, step: int) -> None:
        """Save if it is time to.

        Raises:
            DiskFullError: No room; the state that was saved before is still there.
        """
        if self._every is None:
            is_due = (time.monotonic() - self._saved_at) * COST >= self._seconds
        else:
            is_due = step % self._every == 0
        if is_due:
            self.save(step)

    def save(self, step: int) -> None:
        """Save the state behind a step, whole or not at all.

        Raises:
            DiskFullError: No room; the state that was saved before is still there.
        """
        started = time.monotonic()
        tensors = {f"master {name}": master.detach() for name, master in self._masters.items()}
        for name, master in self._masters.items():
            for key, value in self._optimizer.state[master].items():
                tensors[f"{key} {name}"] = value
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"run": self._run, "step": str(step)}
        try:
            with scratch(self._path.parent, SCRATCH) as directory:
                new = directory / STATE
                # Not into memory first: the state of a large model is gigabytes.
                save_file(tensors, new, metadata=metadata)
                with new.open("rb") as stream:
                    os.fsync(stream.fileno())
                new.replace(self._path)
        except (OSError, SafetensorError) as error:
            if not is_full(error):
                raise
            raise DiskFullError(self._path) from error
        self._saved_at = time.monotonic()
        self._seconds = self._saved_at - started

    @staticmethod
    def discard(directory: Path) -> None:
        """Remove the state of a run that has ended."""
        (directory / STATE).unlink(missing_ok=True)
        sweep(directory, SCRATCH)
        with contextlib.suppress(OSError):  # Something else is kept there.
            directory.rmdir()


def is_full(error: OSError | SafetensorError) -> bool:
    """Whether a write failed for want of room; safetensors says so only in words."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(f"os error {code}" in str(error) for code in (errno.ENOSPC, errno.EDQUOT))
