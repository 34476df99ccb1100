"""An empty store of checkpoints."""

from pathlib import Path

import pytest

from models.store import CheckpointStore


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "store")
