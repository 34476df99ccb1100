"""Data sets of the hub, fetched by the real client from a stand-in with the real layouts."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from huggingface_hub import constants, file_download

from tests.fakes.hub import STRANGER, TOKEN, FakeHub, parquet, texts
from unlearn.corpora import count_texts, digest_of_texts, read_corpus
from unlearn.corpora.layout import choose_files, parse_hub_spec
from unlearn.errors import (
    CorpusError,
    CorruptFileError,
    DiskFullError,
    DownloadError,
    GatedCorpusError,
)

CYBER = "hub:cais/wmdp-corpora/cyber-forget-corpus"
CYBER_FILE = "cyber-forget-corpus/train-00000-of-00001.parquet"
GATED = "hub:cais/wmdp-bio-forget-corpus"
LINES = "hub:someone/lines"
ROOT = ("cyber-forget-corpus.jsonl", "cyber-retain-corpus.jsonl")
ENGLISH = ("data/en/train-00000-of-00001.parquet", "data/en/validation-00000-of-00001.parquet")
HASHED = "data/train-00000-of-00001-b21fdc2be5cd2d4e.parquet"


def visible(cache: Path) -> list[Path]:
    """Files of the cache that a reader would find."""
    return [path for path in (*cache.rglob("*.parquet"), *cache.rglob("*.jsonl")) if path.exists()]


def quicken(monkeypatch) -> None:
    """Let the client keep what it has of a small file too, and not wait before it goes on."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 64)
    monkeypatch.setattr(file_download, "time", Mock(sleep=lambda _: None))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (CYBER, texts("locks")),
        (f"{CYBER}/train", texts("locks")),
        ("hub:cais/wmdp-corpora/bio-retain-corpus", texts("gardens") + texts("trees")),
        ("hub:cais/wmdp-corpora/cyber-retain-corpus", texts("keys")),
        ("hub:cais/wmdp-mmlu-auxiliary-corpora/law-corpus", texts("law")),
        ("hub:wikitext", [" = Tea = \n", " Tea is a drink .\n"]),
        ("hub:wikitext/wikitext-2-raw-v1", [" = Tea = \n", " Tea is a drink .\n"]),
        ("hub:wikitext/wikitext-2-raw-v1/test", [" = Tea = \n", " Tea is a drink .\n"]),
        ("hub:Salesforce/wikitext/wikitext-2-raw-v1/train", [" Rain .\n"]),
        ("hub:Salesforce/wikitext/wikitext-2-raw-v1", [" Rain .\n"]),
        (LINES, ["One line.", "Another line."]),
    ],
)
def test_a_spec_names_the_rows_of_one_split(hub, tmp_path, spec, expected):
    corpus = read_corpus(spec, cache=tmp_path)
    assert list(corpus.texts) == list(expected)
    assert corpus.digest == digest_of_texts(expected)
    assert corpus.spec == spec


def test_the_commit_and_the_licence_are_told(hub, tmp_path):
    for spec, repo, licence in (
        (CYBER, "cais/wmdp-corpora", "mit"),
        ("hub:wikitext", "Salesforce/wikitext", "cc-by-sa-3.0, gfdl"),
        ("hub:cais/wmdp-mmlu-auxiliary-corpora/law-corpus", None, None),
    ):
        corpus = read_corpus(spec, cache=tmp_path)
        assert corpus.licence == licence
        assert repo is None or corpus.revision == hub.datasets[repo].head


def test_texts_are_kept_when_longer_than_the_least_as_published(hub, tmp_path):
    least = len(" = Tea = \n")
    corpus = read_corpus("hub:wikitext", cache=tmp_path, min_characters=least)
    assert corpus.texts[:] == (" Tea is a drink .\n",)
    longer = read_corpus("hub:wikitext", cache=tmp_path, min_characters=least - 1)
    assert len(longer.texts) == 2


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("hub:cais/wmdp-corpora", "configurations: bio-retain-corpus, cyber-forget-corpus"),
        (f"{CYBER}/test", "splits of cyber-forget-corpus: train"),
        ("hub:nobody/nothing", "no such data set"),
        (f"{CYBER}@{'0' * 40}", f"no revision {'0' * 40}"),
        ("hub:wmdp", "is not hub:OWNER/NAME"),
        (f"{CYBER}@", "is not hub:OWNER/NAME"),
        ("hub:a/b/../c", "no such data set"),
        ("hub:a/b c", "is not hub:OWNER/NAME"),
    ],
)
def test_a_wrong_spec_is_told_what_there_is(hub, tmp_path, spec, problem):
    with pytest.raises(CorpusError, match=problem):
        read_corpus(spec, cache=tmp_path)


@pytest.mark.parametrize(
    ("words", "paths", "expected"),
    [
        ("/cyber-forget-corpus", ROOT, ROOT[:1]),
        ("/cyber", ROOT, "splits of default: cyber-forget-corpus, cyber-retain-corpus"),
        ("/v1.0", ("v1.0.jsonl", "v1.1.jsonl"), ("v1.0.jsonl",)),
        ("/en", ENGLISH, ENGLISH[:1]),
        ("/en/validation", ENGLISH, ENGLISH[1:]),
        ("/validation", ENGLISH, ENGLISH[1:]),
        ("", (HASHED,), (HASHED,)),
        ("", ("train.jsonl", "train.parquet"), "twice: train.jsonl, train.parquet"),
        ("", ("train.jsonl", "data/train.jsonl"), "twice: data/train.jsonl, train.jsonl"),
        ("", (HASHED, "data/train.parquet"), r"twice: data/train-\*-of-00001.parquet, data/train"),
        (
            "/en",
            (*ENGLISH, "en/train.jsonl"),
            r"twice: data/en/train-\*-of-00001.parquet, en/train",
        ),
    ],
)
def test_no_two_corpora_are_taken_for_one(words, paths, expected):
    spec = f"hub:someone/corpora{words}"
    if isinstance(expected, tuple):
        assert choose_files(spec, parse_hub_spec(spec), paths) == set(expected)
        return
    with pytest.raises(CorpusError, match=expected):
        choose_files(spec, parse_hub_spec(spec), paths)


def test_what_was_cached_as_one_corpus_is_asked_for_again(hub, tmp_path):
    dataset = hub.datasets["someone/lines"]
    dataset.commit(dict.fromkeys(ROOT, b'{"text": "a"}\n'))
    spec = f"{LINES}/cyber-forget-corpus@{dataset.head}"
    assert read_corpus(spec, cache=tmp_path).texts[:] == ("a",)
    (record,) = (tmp_path / "corpora").iterdir()
    known = json.loads(record.read_text())
    known["files"].append({**known["files"][0], "path": ROOT[1]})
    record.write_text(json.dumps(known))
    assert read_corpus(spec, cache=tmp_path).texts[:] == ("a",)


def test_a_gated_corpus_needs_a_token_with_access(hub, tmp_path):
    for token, reason in ((None, "there is no token"), (STRANGER, "account has no access")):
        with pytest.raises(GatedCorpusError, match=reason) as caught:
            read_corpus(GATED, cache=tmp_path, token=token)
        message = str(caught.value)
        assert "/datasets/cais/wmdp-bio-forget-corpus is gated" in message
        assert "may not be passed on" in message
        assert STRANGER not in message
    assert visible(tmp_path) == []
    corpus = read_corpus(GATED, cache=tmp_path, token=TOKEN)
    assert list(corpus.texts) == list(texts("bread") + texts("cheese", 2)), "the field `text` alone"
    assert hub.cdn_headers, "large files come from another host"
    assert not [headers for headers in hub.cdn_headers if "authorization" in headers]


def test_a_token_that_the_hub_does_not_know_is_said_as_that(hub, tmp_path):
    with pytest.raises(DownloadError, match="does not accept the token") as caught:
        read_corpus(GATED, cache=tmp_path, token="hf_mistyped")
    assert "hf_mistyped" not in str(caught.value)


def test_no_token_of_the_machine_is_sent_unasked(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(GatedCorpusError, match="there is no token"):
        read_corpus(GATED, cache=tmp_path)


def test_a_pinned_revision_stays_while_the_branch_moves(hub, tmp_path):
    dataset = hub.datasets["cais/wmdp-corpora"]
    pinned = f"{CYBER}@{dataset.head}"
    before = read_corpus(pinned, cache=tmp_path)
    moving = read_corpus(CYBER, cache=tmp_path)
    new = dataset.commit({CYBER_FILE: parquet(text=texts("doors"))})
    hub.requests.clear()
    assert read_corpus(pinned, cache=tmp_path)[1:] == before[1:]
    assert hub.requests == [], "a pinned one in the cache asks nothing"
    after = read_corpus(CYBER, cache=tmp_path)
    assert list(after.texts) == list(texts("doors"))
    assert (after.revision, before.revision) == (new, moving.revision)
    assert after.digest != before.digest == moving.digest


def test_texts_are_counted_where_they_are_and_none_is_fetched(hub, tmp_path):
    assert count_texts(CYBER, cache=tmp_path, min_characters=0) is None
    corpus = read_corpus(CYBER, cache=tmp_path)
    longest = max(map(len, corpus.texts))
    hub.requests.clear()
    assert count_texts(CYBER, cache=tmp_path, min_characters=0) == len(corpus.texts)
    assert count_texts(CYBER, cache=tmp_path, min_characters=longest) == 0
    assert hub.requests == []
    for file in (tmp_path / "hub").rglob("*.parquet"):
        file.unlink()
    assert count_texts(CYBER, cache=tmp_path, min_characters=0) is None


@pytest.mark.parametrize("pinned", [True, False])
def test_offline_needs_the_cache(hub, tmp_path, monkeypatch, pinned):
    spec = CYBER + (f"@{hub.datasets['cais/wmdp-corpora'].head}" if pinned else "")
    online = read_corpus(spec, cache=tmp_path / "full")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert read_corpus(spec, cache=tmp_path / "full")[1:] == online[1:]
    with pytest.raises(DownloadError, match="refused"):
        read_corpus(spec, cache=tmp_path / "empty")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert read_corpus(spec, cache=tmp_path / "full")[1:] == online[1:]
    with pytest.raises(DownloadError, match="switched off"):
        read_corpus(spec, cache=tmp_path / "empty")


def test_bytes_that_the_hub_did_not_announce_are_refused_and_fetched_anew(hub, tmp_path):
    hub.faults[CYBER_FILE] = "corrupt"
    with pytest.raises(CorruptFileError, match="corrupt"):
        read_corpus(CYBER, cache=tmp_path)
    assert visible(tmp_path) == []
    hub.faults.clear()
    assert read_corpus(CYBER, cache=tmp_path).texts[:] == tuple(texts("locks"))


@pytest.mark.parametrize("spec", [CYBER, LINES])
def test_a_cached_file_that_changed_is_refused(hub, tmp_path, monkeypatch, spec):
    read_corpus(spec, cache=tmp_path)
    (path,) = visible(tmp_path)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.resolve().write_bytes(content)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CorruptFileError):
        read_corpus(spec, cache=tmp_path)
    assert visible(tmp_path) == []


def test_a_cut_download_goes_on_where_it_was(hub, tmp_path, monkeypatch):
    quicken(monkeypatch)
    hub.faults[CYBER_FILE] = "cut once"
    assert read_corpus(CYBER, cache=tmp_path).texts[:] == tuple(texts("locks"))
    ranges = [headers.get("range") for headers in hub.cdn_headers]
    assert ranges[0] is None
    assert ranges[1].startswith("bytes=")
    assert ranges[1] != "bytes=0-"


def test_an_interrupted_download_leaves_nothing_visible_and_whole_files_are_kept(
    hub, tmp_path, monkeypatch
):
    quicken(monkeypatch)
    spec = "hub:cais/wmdp-corpora/bio-retain-corpus"
    second = "bio-retain-corpus/train-00001-of-00002.parquet"
    hub.faults[second] = "cut"
    with pytest.raises(DownloadError):
        read_corpus(spec, cache=tmp_path)
    assert [path.name for path in visible(tmp_path)] == ["train-00000-of-00002.parquet"]
    assert not list(tmp_path.rglob("*.incomplete"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError):
        read_corpus(spec, cache=tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.faults.clear()
    hub.requests.clear()
    assert len(read_corpus(spec, cache=tmp_path).texts) == 6
    fetched = [line for line in hub.requests if "/cdn/" in line]
    assert len(fetched) == 1, "the first part is not fetched twice"


def test_a_full_disk_has_its_own_error(hub, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_download, "http_get", full)
    with pytest.raises(DiskFullError):
        read_corpus(CYBER, cache=tmp_path)
    assert visible(tmp_path) == []


def airlock(hub_address: str, home: Path, *words: str, **environment: str):
    command = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]
    return subprocess.run(
        [*command, "--home", str(home), "unlearn", "corpus", *words],
        env={**os.environ, "HF_ENDPOINT": hub_address, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_shows_a_corpus_without_its_texts(hub: FakeHub, tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN + "\n")
    address = constants.ENDPOINT
    shown = airlock(address, tmp_path, "show", GATED, "--hub-token-file", str(token_file))
    assert shown.returncode == 0, shown.stderr
    assert "texts       5" in shown.stdout
    assert hub.datasets["cais/wmdp-bio-forget-corpus"].head in shown.stdout
    for word in ("bread", "cheese", TOKEN):
        assert word not in shown.stdout + shown.stderr
    refused = airlock(address, tmp_path / "other", "show", GATED, HF_TOKEN=STRANGER)
    assert refused.returncode == GatedCorpusError.exit_code
    assert refused.stderr.startswith("error: ")
    assert STRANGER not in refused.stderr


def test_the_hub_s_own_conversion_is_read_too(hub, tmp_path):
    dataset = hub.datasets["someone/lines"]
    main, converted = dataset.head, "c" * 40
    dataset.branches["refs/convert/parquet"] = converted
    files = {
        f"default/{split}/0000.parquet": parquet(text=[text])
        for split, text in (("test", "b"), ("train", "a"))
    }
    dataset.commits = {converted: files, main: dataset.commits[main]}
    corpus = read_corpus(f"{LINES}@refs/convert/parquet", cache=tmp_path)
    assert (corpus.texts[:], corpus.revision) == (("a",), converted)
