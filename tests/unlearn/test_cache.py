"""Cached activations: whole or absent, shared, bounded, and never in the way."""

import errno
import os
import tempfile

import pytest
import torch

from unlearn.cache import ActivationCache

STATE = torch.arange(12, dtype=torch.float32).reshape(1, 3, 4)
KEY = {"base": "sha256:0"}


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(tmp_path, said):
    return ActivationCache(tmp_path / "activations", 10_000, said.append)


def test_what_is_put_is_got_by_the_same_key_alone(cache):
    shelf = cache.shelf(KEY)
    assert shelf.get(0, 4) is None
    shelf.put(0, 4, STATE.bfloat16())
    again = cache.shelf(KEY).get(0, 4)
    assert again is not None
    assert torch.equal(again, STATE.bfloat16())
    assert cache.shelf(KEY).get(0, 5) is None
    assert cache.shelf(KEY).get(1, 4) is None
    assert cache.shelf({"base": "sha256:1"}).get(0, 4) is None


@pytest.mark.parametrize("place", [-1, 100, 9])
def test_a_damaged_file_is_as_if_it_were_not_there(cache, place):
    shelf = cache.shelf(KEY)
    shelf.put(0, 4, STATE)
    (file,) = cache.root.rglob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)
    assert shelf.get(0, 4) is None
    file.write_bytes(content[:50])
    assert shelf.get(0, 4) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_said_once_and_leaves_nothing(cache, said, monkeypatch, code):
    shelf = cache.shelf(KEY)
    shelf.put(0, 4, STATE)

    def full(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", full)
        shelf.put(1, 4, STATE)
    shelf.put(2, 4, STATE)
    assert len(said) == 1
    assert os.strerror(code) in said[0]
    assert [file.name for file in cache.root.rglob("*.safetensors")] == ["0-4.safetensors"]


def test_the_limit_stops_a_run_that_needs_more(cache, said):
    shelf = cache.shelf(KEY)
    shelf.put(0, 4, torch.zeros(3000))
    assert len(said) == 1
    assert "limit" in said[0]
    assert not list(cache.root.rglob("*.safetensors"))


def test_the_least_recently_used_shelf_makes_room(cache, tmp_path):
    big = torch.zeros(1200)  # 4800 bytes: two fit, three do not.
    for number in range(3):
        cache.shelf({"number": number}).put(0, 0, big + number)
    cache.shelf({"number": 0})  # It is over the limit only now, and this one is in use.
    kept = [number for number in range(3) if cache.shelf({"number": number}).get(0, 0) is not None]
    assert 0 in kept
    assert len(kept) < 3


def test_a_shelf_that_another_run_removes_is_missed_only(cache, said):
    shelf = cache.shelf(KEY)
    shelf.put(0, 4, STATE)
    kept = shelf.get(0, 4)
    for file in cache.root.rglob("*.safetensors"):
        file.unlink()
    assert torch.equal(kept, STATE)
    assert shelf.get(0, 4) is None
