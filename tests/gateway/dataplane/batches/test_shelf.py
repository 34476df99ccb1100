"""Contents on the shelf: what was written comes back, and nothing that was tampered with does."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.batches import shelf as module
from gateway.dataplane.batches.shelf import Seal, Shelf
from gateway.errors import StorageUnavailableError


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Shelf:
    monkeypatch.setattr(module, "FRAME_BYTES", 64)
    return Shelf(tmp_path / "files", b"k" * 32)


def put(shelf: Shelf, name: str, content: bytes, step: int = 50) -> None:
    writing = shelf.write(name)
    for start in range(0, len(content), step):
        writing.add(content[start : start + step])
        writing.flush()
    writing.finish()


@given(st.binary(max_size=600), st.integers(1, 200))
def test_a_content_comes_back_whole(tmp_path_factory, content, step):
    shelf = Shelf(tmp_path_factory.mktemp("shelf"), b"k" * 32)
    put(shelf, "file-1", content, step)
    assert b"".join(shelf.read("file-1")) == content


@given(st.lists(st.binary(max_size=90).map(lambda b: b.replace(b"\n", b"").rstrip(b"\r"))))
def test_lines_are_those_of_the_text_wherever_frames_end(tmp_path_factory, lines):
    shelf = Shelf(tmp_path_factory.mktemp("shelf"), b"k" * 32)
    frame, module.FRAME_BYTES = module.FRAME_BYTES, 16
    try:
        put(shelf, "file-1", b"".join(line + b"\r\n" for line in lines))
    finally:
        module.FRAME_BYTES = frame
    wanted = [line if len(line) <= 70 else None for line in lines]
    assert list(shelf.lines("file-1", 70)) == wanted


def frames(path) -> list[bytes]:
    found = []
    with path.open("rb") as source:
        while (sealed := module.read_frame(source)) is not None:
            found.append(len(sealed).to_bytes(4, "big") + sealed)
    return found


def test_what_was_cut_swapped_altered_or_renamed_is_not_read(shelf):
    put(shelf, "file-1", os.urandom(300))
    put(shelf, "file-2", os.urandom(300))
    path, other = shelf.folder / "file-1", shelf.folder / "file-2"
    whole, parts = path.read_bytes(), frames(path)
    assert len(parts) > 3
    flipped = bytearray(whole)
    flipped[40] ^= 1
    harmed = [
        b"",
        whole[:-1],
        b"".join(parts[:-1]),
        b"".join([parts[1], parts[0], *parts[2:]]),
        b"".join([*parts, parts[-1]]),
        b"".join([*parts[:-1], frames(other)[-1]]),
        bytes(flipped),
        other.read_bytes(),
    ]
    for content in harmed:
        path.write_bytes(content)
        with pytest.raises(StorageUnavailableError):
            list(shelf.read("file-1"))
    path.write_bytes(whole)
    with pytest.raises(StorageUnavailableError):
        list(Shelf(shelf.folder, b"K" * 32).read("file-1"))
    assert len(b"".join(shelf.read("file-1"))) == 300


def test_memory_holds_a_frame_and_not_a_file(shelf):
    writing = shelf.write("file-1")
    for _ in range(1000):
        writing.add(b"x" * 60)
        writing.flush()
        assert len(writing._buffer) <= 128
    writing.finish()
    assert max(len(part) for part in shelf.read("file-1")) <= 128


def test_nothing_is_there_before_it_is_finished(shelf):
    writing = shelf.write("file-1")
    writing.add(b"x")
    with pytest.raises(StorageUnavailableError):
        list(shelf.read("file-1"))
    with pytest.raises(StorageUnavailableError):
        shelf.write("file-1")
    writing.abandon()
    assert list(shelf.folder.iterdir()) == []


def test_a_frame_goes_with_what_it_was_sealed_for():
    seal = Seal(b"k" * 32)
    frame = seal.close("a", b"content")[4:]
    assert seal.open("a", frame) == b"content"
    for about, sealed in (("b", frame), ("a", frame[:5]), ("a", b"")):
        with pytest.raises(StorageUnavailableError):
            seal.open(about, sealed)
