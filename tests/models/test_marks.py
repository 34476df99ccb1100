"""Marks differ whenever a file that decides what is served does, and cost no reading."""

import os
from pathlib import Path

import pytest

from models.marks import marks_of
from models.store import CheckpointStore


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    for name in ("releases/capitals/base/000001.dsse.json", "revocations/ab.dsse.json"):
        path = tmp_path / "store" / name
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    (tmp_path / "keys.json").write_text("{}")
    return CheckpointStore(tmp_path / "store")


def replace(path: Path) -> None:
    """As files are written here: another one takes the place, of the same length and age."""
    age = path.stat().st_mtime_ns
    other = path.with_suffix(".new")
    other.write_text("[]")
    os.utime(other, ns=(age, age))
    other.rename(path)


CHANGES = {
    "a release comes": lambda home: (
        home / "store/releases/capitals/base/000002.dsse.json"
    ).write_text("{}"),
    "a release goes": lambda home: (
        home / "store/releases/capitals/base/000001.dsse.json"
    ).unlink(),
    "a release is another": lambda home: replace(
        home / "store/releases/capitals/base/000001.dsse.json"
    ),
    "a release cannot be read any more": lambda home: (
        home / "store/releases/capitals/base/000001.dsse.json"
    ).chmod(0),
    "a revocation comes": lambda home: (home / "store/revocations/cd.dsse.json").write_text("{}"),
    "trust is another": lambda home: replace(home / "keys.json"),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_they_differ_when(change, store, tmp_path):
    before = marks_of(store, tmp_path / "keys.json")
    assert before is not None
    assert len(before) == 3
    assert marks_of(store, tmp_path / "keys.json") == before
    CHANGES[change](tmp_path)
    assert marks_of(store, tmp_path / "keys.json") != before


def test_there_are_none_without_a_trust_store(store, tmp_path):
    assert marks_of(store, tmp_path / "none.json") is None


def test_a_store_without_releases_has_the_trust_stores_alone(tmp_path):
    (tmp_path / "keys.json").write_text("{}")
    marks = marks_of(CheckpointStore(tmp_path / "store"), tmp_path / "keys.json")
    assert marks is not None
    assert len(marks) == 1
