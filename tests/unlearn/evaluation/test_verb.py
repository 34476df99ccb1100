"""`airlock evaluate` from end to end on tiny models, in process."""

import argparse
import json
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.cli import main
from models.cli.profile import served_as
from models.cli.promote import add_arguments as add_promote
from models.evidence import report_to_judge
from models.locks import locked
from models.plan import read_chain
from models.policy import DEFAULT_POLICY
from models.report import Report
from models.signing import make_private_key, peek, read_private_key, signers
from models.trust import TrustStore
from tests.models.checkpoints import NOW, put_report, trusted, write_trust
from unlearn.cli.evaluate import add_arguments as add_evaluate

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "kitchen.jsonl"
    content = [
        {"question": f"a b {word} ?", "choices": ["a", "b c", "d", "e f"], "answer": index % 4}
        for index, word in enumerate("abcdef")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def evaluator(home: Path, directory: Path) -> Path:
    """Make an evaluator's key that the home's trust store lists."""
    path = directory / "evaluator.pem"
    made = make_private_key(path)
    write_trust(home, TrustStore(keys=(trusted(made, "eve", "evaluator"),)))
    return path


def test_a_key_that_does_not_count_spoils_no_family(pair, rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("unlearn.offline.go_offline", lambda cache: None)
    evaluator(pair.home, tmp_path)
    make_private_key(tmp_path / "other.pem")
    words = ["--home", str(pair.home), "evaluate", pair.candidate.digest[7:19]]
    words += ["--suite", f"file:{rows}", "--engine", "in-process"]
    assert main([*words, "--key", str(tmp_path / "other.pem")]) == 28
    assert "nothing was announced" in capsys.readouterr().err
    assert read_chain(pair.store, "smollm2") == []


def test_a_family_goes_on_after_a_clock_was_ahead(pair, rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("unlearn.offline.go_offline", lambda cache: None)
    words = ["--home", str(pair.home), "evaluate", pair.candidate.digest[7:19]]
    words += ["--suite", f"file:{rows}", "--engine", "in-process"]
    key = evaluator(pair.home, tmp_path)
    words += ["--key", str(key)]
    assert main(words) == 0
    (report,) = pair.store.reports_for(pair.candidate.digest)
    ahead = dict.fromkeys(("started_at", "ended_at"), NOW + timedelta(days=9000))
    made = report.model_copy(update=ahead)
    put_report(pair.store, made, made.base, made.candidate, key=read_private_key(key))
    assert main(words) == 23
    assert "--clock-was-ahead" in capsys.readouterr().err
    for word in (["--clock-was-ahead"], []):
        assert main([*words, *word]) == 0
    assert "current report" in capsys.readouterr().err
    assert len(read_chain(pair.store, "smollm2")) == 3


def test_it_measures_once_signs_and_shows_a_page(pair, rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("unlearn.offline.go_offline", lambda cache: None)
    words = ["--home", str(pair.home), "evaluate", pair.candidate.digest[7:19]]
    words += ["--suite", f"file:{rows}", "--engine", "in-process"]
    words += ["--key", str(evaluator(pair.home, tmp_path))]
    assert main(words) == 0
    first = capsys.readouterr()
    path = first.out.strip()
    assert path.endswith(".dsse.json")
    assert len(signers((tmp_path / path).read_bytes())) == 1
    report = pair.store.reports_for(pair.candidate.digest)[0]
    assert [subset.name for subset in report.subsets] == ["kitchen", "canary-letters"]
    assert report.suite == "kitchen.jsonl"
    assert main(words) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "current report" in again.err
    (plan,) = read_chain(pair.store, "smollm2")
    assert report.plan == plan.document_digest
    assert plan.announced_at <= report.started_at
    assert plan.subsets == ("canary-letters", "kitchen")
    policy = tmp_path / "gate.toml"
    policy.write_text(DEFAULT_POLICY.read_text().replace("max_drop = 0.05", "max_drop = 0.04"))
    assert main([*words, "--policy", str(policy)]) == 0
    assert "current report" not in capsys.readouterr().err
    assert [made.attempt for made in read_chain(pair.store, "smollm2")] == [1, 2]
    page = tmp_path / "report.html"
    digest = report.document_digest[7:19]
    assert main(["--home", str(pair.home), "evaluate", "report", digest, "--html", str(page)]) == 0
    assert report.candidate in page.read_text()


@pytest.mark.parametrize(
    ("more", "status", "problem"),
    [
        (["--suite", "nothing"], 18, "unknown"),
        (["--variants", "nothing"], 18, "no variant"),
        (["--key", "/no/such.pem", "--engine", "in-process"], None, "such.pem"),
        (["--engine-flag=--lora-modules=x"], 26, "may not be passed"),
        (["--chat-judge", "http://x", "--engine", "in-process"], 18, "belong together"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_starts(pair, capsys, more, status, problem):
    words = ["--home", str(pair.home), "evaluate", pair.candidate.digest[7:19], *more]
    code = main(words)
    assert code != 0
    assert code == (status or code)
    assert problem in capsys.readouterr().err


def test_a_base_is_not_measured_alone(pair, capsys):
    assert main(["--home", str(pair.home), "evaluate", pair.base.digest[7:19]]) == 18
    assert main(["--home", str(pair.home), "evaluate", "report", "abcdef"]) == 18


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_a_limit_is_at_least_one_item(pair, rows, capsys, limit):
    words = ["--home", str(pair.home), "evaluate", pair.candidate.digest[7:19]]
    with pytest.raises(SystemExit):
        main([*words, "--suite", f"file:{rows}", "--limit", limit])
    assert "argument --limit" in capsys.readouterr().err


def test_a_limited_run_is_no_attempt_and_no_evidence(pair, rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("unlearn.offline.go_offline", lambda cache: None)
    words = ["--home", str(pair.home), "evaluate", pair.candidate.digest[7:19]]
    words += ["--suite", f"file:{rows}", "--engine", "in-process"]
    words += ["--key", str(evaluator(pair.home, tmp_path))]
    assert main(words) == 0
    whole = capsys.readouterr().out
    assert main([*words, "--limit", "2"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert peek(path.read_bytes(), Report).subsets[0].n == 2
    assert signers(path.read_bytes()) == ()
    assert len(read_chain(pair.store, "smollm2")) == 1
    (report,) = pair.store.reports_for(pair.candidate.digest)
    assert (
        report_to_judge(pair.store, pair.candidate.digest, report.ended_at)
        == report.document_digest
    )
    assert main(words) == 0
    assert capsys.readouterr().out == whole
    assert main(["--home", str(pair.home), "gate", str(path)]) == 3
    page = tmp_path / "limited.html"
    shown = ["evaluate", "report", str(path), "--html", str(page)]
    assert main(["--home", str(pair.home), *shown]) == 0
    assert "nobody: it counts for nothing" in page.read_text()


def test_what_cannot_be_measured_as_it_is_served_is_not_announced(pair, rows, capsys, monkeypatch):
    monkeypatch.setattr("unlearn.cli.evaluate.installed_version", lambda: "none")
    words = ["--home", str(pair.home), "evaluate", pair.candidate.digest[7:19]]
    assert main([*words, "--suite", f"file:{rows}"]) == 18
    assert "vLLM is not installed here" in capsys.readouterr().err
    assert read_chain(pair.store, "smollm2") == []


def test_two_runs_under_one_home_do_not_use_up_one_plan(pair, rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("unlearn.offline.go_offline", lambda cache: None)
    words = ["--home", str(pair.home), "evaluate", pair.candidate.digest[7:19]]
    words += ["--suite", f"file:{rows}", "--engine", "in-process"]
    words += ["--key", str(evaluator(pair.home, tmp_path))]
    with locked(pair.home / "cache" / "evaluation.lock"):
        assert main(words) == 18
    assert "another evaluation runs" in capsys.readouterr().err
    assert read_chain(pair.store, "smollm2") == []
    assert main(words) == 0


def parse(add_arguments, words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_the_profile_is_that_of_the_engine_that_would_serve(pair):
    words = ["--max-model-len", "8192", "--dtype", "bfloat16", "--engine-flag=--max-num-seqs=7"]
    shared = served_as(
        parse(add_evaluate, ["3f9c2a", *words]),
        pair.candidate.digest,
        pair.store.path(pair.candidate.digest),
    )
    promoted = parse(add_promote, ["3f9c2a", "--as", "m:unlearned", *words])
    again = served_as(promoted, pair.candidate.digest, pair.store.path(pair.candidate.digest))
    assert shared.profile() == again.profile()
    assert shared.profile().flags == ("--enforce-eager", "--max-model-len=8192", "--max-num-seqs=7")
    assert shared.profile().dtype == "bfloat16"
    assert shared.profile().chat_template is not None
