"""Forms: the same file however its bytes are cut; no bytes are a crash."""

from contextlib import suppress

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.dataplane.batches.upload import Form
from gateway.errors import AirlockError, UnsupportedMediaTypeError

BOUNDARY = b"b0undary"


class Sink:
    """Where a file's bytes go."""

    def __init__(self) -> None:
        self.content = b""

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def add(self, data: bytes) -> None:
        self.content += data


def encoded(content: bytes) -> bytes:
    """A form as a client sends it."""
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
    files, data = {"file": ("a.jsonl", content)}, {"purpose": "batch"}
    return httpx.Request("POST", "http://x", headers=headers, files=files, data=data).read()


@given(st.binary(max_size=400), st.lists(st.integers(1, 60), max_size=40))
@example(b"\r\n--b0undar", [1] * 40)
@example(b"\r\n--\r\n", [3] * 40)
def test_the_file_is_the_same_however_it_is_cut(content, cuts):
    if b"--" + BOUNDARY in content:
        return
    whole, sink = encoded(content), Sink()
    form = Form(BOUNDARY, sink, 1000)
    for size in cuts:
        form.feed(whole[:size])
        whole = whole[size:]
    form.feed(whole)
    assert sink.content == content
    assert form.is_complete
    assert (form.filename, form.fields) == ("a.jsonl", {"purpose": "batch"})


@given(st.binary(max_size=300), st.integers(0, 200))
def test_no_bytes_are_a_crash(noise, place):
    good = encoded(b"{}")
    form = Form(BOUNDARY, Sink(), 1000)
    with suppress(AirlockError):
        form.feed(good[:place] + noise + good[place:])


def test_a_boundary_may_not_be_endless():
    with pytest.raises(UnsupportedMediaTypeError):
        Form(b"x" * 10_000, Sink(), 10)
