"""Texts stay on disk: what is in memory is what is looked at."""

import errno
import json
import tracemalloc

import pytest

from unlearn.batches import cut_corpus
from unlearn.corpora import digest_of_texts, read_corpus
from unlearn.corpora.texts import Texts
from unlearn.errors import DiskFullError
from unlearn.estimate import Counted, count_corpora

TEXTS = ["Bees make honey.", "", "Żółw – a tortoise.\n", "x"]
MIB = 2**20


def test_they_are_the_same_texts_in_the_same_order(tmp_path):
    texts = Texts(iter(TEXTS), tmp_path / "new")
    assert len(texts) == 4
    assert list(texts) == TEXTS
    assert [texts[place] for place in range(-4, 4)] == [*TEXTS, *TEXTS]
    assert texts[1:3] == ("", "Żółw – a tortoise.\n")
    assert texts[::-2] == ("x", "")
    with pytest.raises(IndexError):
        texts[4]
    assert not list(Texts([], tmp_path))


def test_nothing_of_them_is_left_behind(tmp_path):
    texts = Texts(TEXTS, tmp_path)
    assert not list(tmp_path.iterdir()), "also not while they are used"
    assert list(texts) == TEXTS


def test_a_full_disk_is_said_as_that(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(DiskFullError, match="no room left"):
        Texts(TEXTS, tmp_path)


@pytest.fixture
def traced():
    tracemalloc.start()
    yield tracemalloc
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", ["jsonl", "txt"])
def test_a_corpus_takes_no_more_memory_than_some_texts(tmp_path, traced, suffix):
    path, text = tmp_path / f"papers.{suffix}", "A ż paper on tea. " * 500
    rows = {"jsonl": json.dumps({"text": text.strip()}) + "\n", "txt": f"{text}\n\n"}
    with path.open("w") as file:
        file.writelines(rows[suffix] for _ in range(2000))
    traced.reset_peak()
    corpus = read_corpus(f"file:{path}", cache=tmp_path)
    assert len(corpus.texts) == 2000
    assert corpus.digest == digest_of_texts([text.strip()] * 2000)
    assert traced.get_traced_memory()[1] < MIB, "the texts are 17 MB"


class Words:
    """A tokenizer with one token for each word."""

    eos_token_id = 0

    def __len__(self):
        return 512

    def __call__(self, text):
        return {"input_ids": [[len(word) + 300 for word in one.split()] for one in text]}


def test_an_estimate_counts_what_is_held_of_a_corpus_that_is_cut(tmp_path, traced):
    texts = Texts(("a paper on tea " * 64 for _ in range(4000)), tmp_path)
    shape = {"batch_size": 4, "max_tokens": 64, "numerics": "masked", "characters": 500}
    before = traced.get_traced_memory()[0]
    batches = cut_corpus(texts, Words(), **shape)
    held = traced.get_traced_memory()[0] - before
    assert len(batches) == 1000
    assert held <= count_corpora([Counted(4000, 64)]) <= 1.25 * held
