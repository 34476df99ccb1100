"""What the benchmark measures does run: here on a model of nothing, in this process."""

import pytest

from models.store import CheckpointStore
from tests.benchmarks import works
from tests.benchmarks.random_models import Size, random_base

TINY = Size("random-tiny", 9, 32, 64, 2, 1, shard_bytes=100_000, vocabulary=1200)


@pytest.mark.parametrize("name", works.WORKS)
def test_a_work_is_done(name, tmp_path, monkeypatch):
    monkeypatch.setattr(works, "BILLION", TINY)
    monkeypatch.setattr(works, "LARGE", TINY)
    works.WORKS[name](tmp_path)
    store = CheckpointStore(tmp_path / "store")
    assert store.manifests() == [random_base(store, TINY)], "a candidate does not stay"
