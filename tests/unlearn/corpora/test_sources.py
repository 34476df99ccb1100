"""Local and built-in corpora, and what is said of one that cannot be used."""

import hashlib
import json

import pytest

from gateway.cli import main
from tests.fakes.hub import parquet
from unlearn.corpora import digest_of_texts, read_corpus
from unlearn.errors import CorpusError
from unlearn.evaluation.capitals import DATA

TEXTS = ["Bees make honey.", "Żółw – a tortoise.\nIt is slow."]


def read(path, **given):
    return read_corpus(f"file:{path}", cache=path.parent, **given)


def test_the_same_texts_have_the_same_digest_in_every_kind_of_file(tmp_path):
    lines = [json.dumps({"text": text, "topic": "x"}) + "\n" for text in ["", *TEXTS]]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    (tmp_path / "a.parquet").write_bytes(parquet(text=["", None, *TEXTS], title=["x"] * 4))
    (tmp_path / "a.txt").write_text("\n" + "\n  \n\n".join(TEXTS) + "\n")
    for name in ("a.jsonl", "a.parquet", "a.txt"):
        corpus = read(tmp_path / name)
        assert list(corpus.texts) == TEXTS, name
        assert corpus.digest == digest_of_texts(TEXTS)
        assert (corpus.revision, corpus.licence) == (None, None)


def test_a_digest_is_of_lengths_and_texts_in_order():
    by_hand = hashlib.sha256(b"\0" * 7 + b"\2ab" + b"\0" * 7 + b"\2\xc3\xa9").hexdigest()
    assert digest_of_texts(["ab", "é"]) == f"sha256:{by_hand}"
    assert digest_of_texts(["é", "ab"]) != f"sha256:{by_hand}"
    assert digest_of_texts(["a", "b"]) != digest_of_texts(["ab"])


@pytest.mark.parametrize("name", ["forget", "retain"])
def test_the_demo_corpora_are_built_in(tmp_path, name):
    corpus = read_corpus(f"builtin:capitals/{name}", cache=tmp_path)
    assert len(corpus.texts) == len((DATA / f"{name}.jsonl").read_bytes().splitlines())
    assert corpus.licence == "Apache-2.0"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("builtin:rivers", "is none of capitals/forget, capitals/retain"),
        ("corpus.jsonl", "begins with none of hub:, file:, builtin:"),
        ("http://x/y", "begins with none of hub:, file:, builtin:"),
        ("file:", "begins with none of hub:, file:, builtin:"),
        ("file:/nowhere/a.jsonl", "No such file"),
        ("file:a.csv", "a.csv is none of .jsonl, .parquet, .txt"),
    ],
)
def test_a_wrong_spec_is_said_as_that(tmp_path, spec, problem):
    with pytest.raises(CorpusError, match=problem):
        read_corpus(spec, cache=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl", b'{"text": "secret"}\n{"txt": "secret"}', "line 2 is not"),
        ("a.jsonl", b'{"text": "secret"', "line 1 is not"),
        ("a.jsonl", b'{"text": ["secret"]}', "line 1 has no text"),
        ("a.jsonl", b'{"text": "\\ud800 secret"}', "no valid Unicode"),
        ("a.jsonl", b"\n\n", "line 1 is not"),
        ("a.jsonl", b"", "no text longer than 0"),
        ("a.txt", b"secret \xff", "a.txt is not UTF-8"),
        ("a.txt", b" \n \n", "no text longer than 0"),
        ("a.parquet", b"PAR1 secret", "no whole Parquet file"),
        ("a.parquet", parquet(title=["secret"], body=["secret"]), "it has title, body"),
        ("a.parquet", parquet(text=[1]), "holds no text"),
    ],
)
def test_a_bad_file_is_said_without_what_is_in_it(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=problem) as caught:
        read(tmp_path / name)
    error = caught.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__


def test_a_corpus_is_shown_by_its_lengths(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("\n\n".join(["abc"] * 3 + ["abcd" * 4]))
    words = ["--home", str(tmp_path), "unlearn", "corpus", "show", f"file:{tmp_path / 'a.txt'}"]
    assert main(words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in shown[1:4]] == [
        "4",
        "25",
        digest_of_texts(["abc"] * 3 + ["abcd" * 4]),
    ]
    counts = [line.split()[:2] for line in shown[8:]]
    assert counts == [["2–3", "3"], ["4–7", "0"], ["8–15", "0"], ["16–31", "1"]]
    assert main([*words, "--min-characters", "3"]) == 0
    assert "texts       1" in capsys.readouterr().out
