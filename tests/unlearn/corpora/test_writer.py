"""Self-written corpora, through the command and a stand-in for the endpoint."""

import json
from pathlib import Path

import pytest

from gateway.cli import main
from tests.fakes.openai_server import FakeOpenAi
from unlearn.corpora import endpoint, read_corpus, writer
from unlearn.corpora.writing import Written
from unlearn.errors import CorpusError, DiskFullError, WriterError

TOPICS = ["bees", "tea", "rain"]


@pytest.fixture
def fake(stage):
    stage.app = FakeOpenAi()
    return stage.app


@pytest.fixture
def write(stage, fake, tmp_path, monkeypatch, capsys):
    """Run the command; return its exit status and what it said."""
    monkeypatch.setattr(endpoint, "BACKOFF_SECONDS", (0.0, 0.0))
    (tmp_path / "topics.txt").write_text("# some\n" + "\n".join(TOPICS) + "\n\n")
    (tmp_path / "key").write_text(fake.key + "\n")

    def run(*words, prompt="Write about {topic}.", key="key"):
        status = main(
            [
                *("--home", str(tmp_path), "unlearn", "corpus", "write"),
                *("--base-url", f"{stage.address}/v1", "--model", "base", "--prompt", prompt),
                *("--topics", str(tmp_path / "topics.txt"), "--per-topic", "4"),
                *("--out", str(tmp_path / "out.jsonl")),
                *(("--key-file", str(tmp_path / key)) if key else ()),
                *map(str, words),
            ]
        )
        return status, capsys.readouterr()

    return run


def rows(tmp_path: Path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


def manifest(tmp_path: Path) -> Written:
    return Written.model_validate_json((tmp_path / "out.jsonl.json").read_text())


def test_every_topic_is_written_with_all_parameters_and_recorded(write, fake, tmp_path):
    status, said = write("--temperature", 0.9, "--seed", 5, "--licence", "Apache-2.0")
    assert status == 0, said.err
    assert sorted(row["topic"] for row in rows(tmp_path)) == sorted(TOPICS * 4)
    assert all(f"Write about {row['topic']}." in row["text"] for row in rows(tmp_path))
    assert [row["topic"] for row in rows(tmp_path)] != [t for t in TOPICS for _ in range(4)]
    for request in fake.requests:
        assert request["path"] == "/v1/chat/completions"
        assert (request["model"], request["temperature"]) == ("base", 0.9)
    seeds = {request["seed"] for request in fake.requests}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**31 for seed in seeds), "what every engine takes"
    corpus = read_corpus(f"file:{tmp_path / 'out.jsonl'}", cache=tmp_path)
    written = manifest(tmp_path)
    assert said.out.strip() == written.digest == corpus.digest
    assert corpus.licence == written.licence == "Apache-2.0"
    assert (written.texts, written.dropped) == (12, 0)
    assert written.writing.topics == tuple(TOPICS)
    assert (written.writing.seed, written.writing.temperature) == (5, 0.9)
    assert not (tmp_path / "out.jsonl.part").exists()
    assert fake.key not in (tmp_path / "out.jsonl.json").read_text() + said.err + said.out


def test_the_same_seed_gives_the_same_file_however_many_at_once(write, fake, tmp_path):
    write("--concurrency", 1)
    assert fake.most_under_way == 1
    first = (tmp_path / "out.jsonl").read_bytes()
    for name in ("out.jsonl", "out.jsonl.json"):
        (tmp_path / name).unlink()
    write("--concurrency", 3)
    assert 1 < fake.most_under_way <= 3
    assert (tmp_path / "out.jsonl").read_bytes() == first
    for name in ("out.jsonl", "out.jsonl.json"):
        (tmp_path / name).unlink()
    write("--seed", 1)
    assert (tmp_path / "out.jsonl").read_bytes() != first


def test_texts_with_the_evaluation_wording_are_dropped_and_asked_for_again(write, fake, tmp_path):
    (tmp_path / "wording").write_text("AN ANSWER$\n")
    status, said = write("--exclude", tmp_path / "wording")
    assert status == 0, said.err
    written = manifest(tmp_path)
    assert written.texts == len(rows(tmp_path)) > 0
    assert not [row for row in rows(tmp_path) if row["text"].endswith("an answer")]
    odd = [request for request in fake.requests if request["seed"] % 2]
    assert written.dropped == len(odd) > 0
    seeds = {request["seed"] for request in fake.requests}
    assert len(seeds) == len(fake.requests), "the same seed would say the same again"
    assert "ANSWER" not in (tmp_path / "out.jsonl.json").read_text(), "only the patterns' digest"
    assert written.writing.exclude is not None


def test_nothing_left_is_an_error(write, tmp_path):
    (tmp_path / "wording").write_text(".\n")
    status, said = write("--exclude", tmp_path / "wording")
    assert status == CorpusError.exit_code
    assert "no text was left" in said.err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_broken_run_goes_on_with_the_topics_that_lack(write, fake, tmp_path):
    fake.bad_topic = "rain"
    status, said = write("--concurrency", 1)
    assert status == WriterError.exit_code
    assert "answers 500" in said.err
    assert "Write about" not in said.err, "an endpoint's words may repeat the prompt"
    assert not (tmp_path / "out.jsonl").exists()
    # A kill in the middle of a line.
    with (tmp_path / "out.jsonl.part").open("a") as part:
        part.write('{"topic": "rain", "te')
    fake.bad_topic = "\0"
    fake.requests.clear()
    assert write()[0] == 0
    assert len(fake.requests) == 4, "what was finished is not written again"
    broken = (tmp_path / "out.jsonl").read_bytes()
    fresh = (tmp_path / "out.jsonl", tmp_path / "out.jsonl.json")
    for path in fresh:
        path.unlink()
    write()
    assert (tmp_path / "out.jsonl").read_bytes() == broken, "the same as without a break"


def test_a_finished_corpus_is_not_written_again(write, fake, tmp_path):
    write()
    first = manifest(tmp_path)
    fake.requests.clear()
    status, said = write()
    assert (status, said.out.strip(), fake.requests) == (0, first.digest, [])
    status, said = write("--seed", 9)
    assert status == CorpusError.exit_code
    assert "is there already" in said.err
    assert manifest(tmp_path) == first


def test_a_run_with_other_parameters_does_not_go_on_with_these(write, fake, tmp_path):
    fake.bad_topic = "rain"
    write()
    status, said = write("--seed", 9)
    assert status == CorpusError.exit_code
    assert "other parameters" in said.err


@pytest.mark.parametrize("statuses", [[429, 503], [500]])
def test_a_busy_endpoint_is_asked_again(write, fake, statuses):
    fake.statuses = list(statuses)
    assert write()[0] == 0
    assert len(fake.requests) == 12 + len(statuses)


@pytest.mark.parametrize(
    ("faults", "problem"),
    [
        ({"key": "other"}, "refuses the key"),
        ({"statuses": [404] * 99}, "is --model right"),
        ({"body": "<html>"}, "another shape"),
        ({"body": '{"choices": []}'}, "another shape"),
    ],
)
def test_what_an_endpoint_does_wrong_is_said(write, fake, tmp_path, faults, problem):
    for name, value in faults.items():
        setattr(fake, name, value)
    status, said = write()
    assert status == WriterError.exit_code
    assert problem in said.err
    assert "Write about" not in said.err
    assert not (tmp_path / "out.jsonl").exists()


def test_an_endpoint_that_is_not_there_is_said_as_that(write, tmp_path):
    status, said = write("--base-url", "http://127.0.0.1:9/v1")
    assert status == WriterError.exit_code
    assert "cannot be reached" in said.err


def test_a_base_model_without_a_chat_template_is_asked_for_completions(write, fake, tmp_path):
    assert write("--api", "completions")[0] == 0
    assert {request["path"] for request in fake.requests} == {"/v1/completions"}
    assert len(rows(tmp_path)) == 12


def test_the_key_may_come_from_the_environment(write, fake, monkeypatch):
    monkeypatch.setenv("WRITER_KEY", fake.key)
    assert write("--key-env", "WRITER_KEY", key=None)[0] == 0
    with pytest.raises(SystemExit):
        write("--key-env", "WRITER_KEY")


def test_an_empty_key_file_is_said_as_that(write, tmp_path):
    (tmp_path / "empty").touch()
    status, said = write(key="empty")
    assert status == CorpusError.exit_code
    assert "is empty" in said.err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--base-url", "ftp://x"], "not http"),
        (["--base-url", "http://me:secret@x/v1"], "holds a password"),
        (["--prompt", "Write."], "no {topic}"),
        (["--per-topic", "0"], "1 or more"),
        (["--topics", "/nowhere"], "No such file"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_asked(write, fake, words, problem):
    status, said = write(*words)
    assert status == CorpusError.exit_code
    assert problem in said.err
    assert fake.requests == []


def test_a_corpus_that_changed_since_it_was_written_is_refused(write, tmp_path):
    write()
    lines = (tmp_path / "out.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "out.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(CorpusError, match="has changed"):
        read_corpus(f"file:{tmp_path / 'out.jsonl'}", cache=tmp_path)


def test_a_full_disk_has_its_own_error(write, tmp_path, monkeypatch):
    def full(path, *_, **__):
        raise writer.StoreFullError(path)

    monkeypatch.setattr(writer, "write_bytes", full)
    status, said = write()
    assert status == DiskFullError.exit_code
    assert "no room left" in said.err
    assert not (tmp_path / "out.jsonl").exists()
