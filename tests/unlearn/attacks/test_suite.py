"""The suite through its verb: signed, with every attack, resumed, and judged by the gate."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.cli import main
from models.evidence import collect_file
from models.gate import judge
from models.manifest import CorpusSource
from models.plan import read_chain
from models.policy import DEFAULT_POLICY, Depth, Policy
from models.signing import make_private_key, read_private_key
from models.store import CheckpointStore
from models.trust import TrustStore
from tests.models.checkpoints import trusted, write_trust
from tests.unlearn.attacks.conftest import TASK, misdirect
from unlearn.attacks import suite
from unlearn.attacks.domain import LEAST_ITEMS
from unlearn.attacks.settings import attacks_of
from unlearn.cli import depth
from unlearn.corpora import read_corpus
from unlearn.errors import GatedCorpusError
from unlearn.evaluation.suites import load_suite

pytestmark = pytest.mark.filterwarnings("default")
ATTACKS = attacks_of("miniature")
NAMES = [attack.name for attack in ATTACKS]
FEW = ATTACKS[2:6]
"""Enough to stop between a base and its candidate; two are of one kind, with other settings."""


@pytest.fixture
def toy(hide, tmp_path, monkeypatch):
    """A toy, a suite that holds its items, and an evaluator's key."""
    monkeypatch.setattr("unlearn.offline.go_offline", lambda cache: None)
    monkeypatch.setattr(
        "unlearn.evaluation.suites.capitals", lambda: (TASK, replace(TASK, name="b", domain="b"))
    )
    made = hide(misdirect)
    key = make_private_key(tmp_path / "evaluator.pem")
    write_trust(made.home, TrustStore(keys=(trusted(key, "eve", "evaluator"),)))
    return made


@pytest.fixture
def words(toy, tmp_path) -> list[str]:
    return [
        *("--home", str(toy.home), "evaluate", toy.candidate.digest[7:19]),
        *("--suite", "depth:capitals", "--depth", "miniature"),
        *("--key", str(tmp_path / "evaluator.pem")),
    ]


def verdict_of(toy, path, tmp_path, mode):
    key = read_private_key(tmp_path / "evaluator.pem")
    trust = TrustStore(keys=(trusted(key, "eve", "evaluator"),))
    evidence = collect_file(toy.store, trust, path, datetime.now(UTC), None)
    limits = Depth(
        mode=mode, max_recovered=0.25, max_regression=0.1, required=("direction-ablation", "gcg-3")
    )
    policy = Policy.load().model_copy(update={"depth": limits})
    return {rule.rule: rule for rule in judge(evidence.report, policy, evidence.facts).rules}


def test_every_attack_is_reported_with_its_control_and_the_policy_says_what_blocks(
    toy, words, tmp_path, capsys
):
    assert main(words) == 0
    printed = capsys.readouterr()
    report = toy.store.reports_for(toy.candidate.digest)[0]
    assert [attack.attack for attack in report.attacks] == NAMES
    assert (report.suite, report.profile.engine) == ("depth", "transformers")
    (plan,) = read_chain(toy.store, "toy")
    assert report.plan == plan.document_digest
    assert plan.attempt == 1
    # Attacks spend no attempt, whoever comes next.
    assert plan.suite == "depth"
    for attack in report.attacks:
        assert f"facts {attack.attack}: " in printed.err
        assert attack.base_before.k > attack.candidate_before.k
        assert attack.candidate_after.n == attack.candidate_before.n == attack.base_after.n
        assert "prompts_digest" in attack.setting
    by_name = {attack.attack: attack for attack in report.attacks}
    ablated = by_name["direction-ablation"]
    assert ablated.recovered > 0.8
    assert len(by_name["logit-lens"].layers) == 3
    path = toy.store.report_path(report.document_digest)
    blocked = verdict_of(toy, path, tmp_path, "block")
    assert blocked["depth.direction-ablation.facts.recovered"].outcome == "FAIL"
    assert "coverage.attacks" not in blocked
    recorded = verdict_of(toy, path, tmp_path, "record")
    assert recorded["depth.direction-ablation.facts.recovered"].outcome == "PASS"
    page = tmp_path / "attacks.html"
    assert main([*words[:3], "report", str(path), "--html", str(page)]) == 0
    assert "It opens no door by itself" in page.read_text()
    assert main(words) == 0
    assert "current report" in capsys.readouterr().err
    assert len(read_chain(toy.store, "toy")) == 1


def test_a_run_that_was_stopped_goes_on_after_the_last_finished_attack(
    toy, words, monkeypatch, capsys
):
    monkeypatch.setattr("unlearn.attacks.settings.attacks_of", lambda depth: FEW)
    ran: list[tuple[str, str]] = []
    stop_at = 5

    def watch(kind, attack):
        def run(subject, domain, setting):
            if len(ran) == stop_at:
                raise KeyboardInterrupt
            ran.append((kind, subject.path.name))
            return attack(subject, domain, setting)

        return run

    watched = {kind: watch(kind, attack) for kind, attack in suite.KINDS.items()}
    monkeypatch.setattr(suite, "KINDS", watched)
    assert main(words) == 130
    assert len(ran) == 5
    assert toy.store.reports_for(toy.candidate.digest) == []
    stop_at = -1
    assert main(words) == 0
    assert len(ran) == 2 * len(FEW)
    assert len(set(ran)) == len({kind for kind, _ in ran}) * 2
    assert len(read_chain(toy.store, "toy")) == 1, "the run that goes on is the announced one"
    report = toy.store.reports_for(toy.candidate.digest)[0]
    assert [attack.attack for attack in report.attacks] == [attack.name for attack in FEW]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--depth", "deep"], "none of miniature, small, full"),
        (["--suite", "depth:nothing"], "unknown"),
        (["--suite", "depth:file:kitchen.jsonl"], "no items of facts"),
        (["--suite", "depth"], "say which items measure toy"),
        (["--texts-of", "0000"], "0000"),
        (["--limit", "5"], "attacks need 6 different items, and there are 5"),
    ],
)
def test_what_cannot_be_attacked_is_said_before_anything_is_announced(
    toy, words, tmp_path, capsys, monkeypatch, more, problem
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kitchen.jsonl").write_text(json.dumps(TASK.items[0]) + "\n")
    assert main([*words, *more]) not in (0, 130)
    assert problem in capsys.readouterr().err
    assert read_chain(toy.store, "toy") == []


def test_the_fewest_items_are_enough_to_split(toy, words, monkeypatch, capsys):
    chosen = tuple(one for one in ATTACKS if one.kind in ("probe", "lens", "few-shot", "prefix"))
    monkeypatch.setattr("unlearn.attacks.settings.attacks_of", lambda depth: chosen)
    assert main([*words, "--limit", str(LEAST_ITEMS)]) == 0
    assert capsys.readouterr().err.count("recovered") == len(chosen)


def test_items_and_texts_are_fetched_before_the_network_is_forbidden(toy, words, monkeypatch):
    done: list[str] = []

    def watch(name, call):
        def told(*given, **named):
            done.append(name)
            return call(*given, **named)

        return told

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("unlearn.evaluation.suites.load_suite", watch("items", load_suite))
    monkeypatch.setattr("unlearn.attacks.domain.read_corpus", watch("texts", read_corpus))
    monkeypatch.setattr("unlearn.offline.go_offline", lambda cache: done.append("offline"))
    monkeypatch.setattr("unlearn.evaluation.session.measure_run", stop)
    assert main(words) == 130
    assert done == ["items", "texts", "texts", "offline"]


def test_what_fetches_loads_no_library_that_reads_once_whether_it_may():
    code = (
        "import sys, unlearn.attacks.domain, unlearn.attacks.settings, unlearn.cli.depth, "
        "unlearn.evaluation.currency, unlearn.evaluation.runs, unlearn.evaluation.suites\n"
        "sys.exit(any(name in sys.modules for name in ('datasets', 'lm_eval', 'transformers')))"
    )
    environment = {**os.environ, "PYTHONPATH": "."}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_a_report_that_was_announced_for_another_policy_is_not_current(
    toy, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("unlearn.attacks.settings.attacks_of", lambda depth: FEW[2:3])
    other = tmp_path / "policy.toml"
    other.write_text(DEFAULT_POLICY.read_text().replace("max_age_days = 90", "max_age_days = 89"))
    for more, attempts in (([], 1), ([], 1), (["--policy", str(other)], 2)):
        assert main([*words, *more]) == 0
        assert len(read_chain(toy.store, "toy")) == attempts
    assert read_chain(toy.store, "toy")[-1].policy == Policy.load(other).document_digest


def test_texts_that_have_changed_are_not_taken_for_those_that_were_unlearned(
    toy, words, tmp_path, capsys
):
    with (tmp_path / "forget.jsonl").open("a") as stream:
        stream.write(json.dumps({"text": "another"}) + "\n")
    assert main(words) == 13
    assert "other texts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("hazards", "expected"),
    [(("capitals",), "capitals"), (("bio", "chem", "cyber"), "wmdp"), (("bio",), "wmdp")],
)
def test_a_family_knows_its_items(toy, hazards, expected):
    manifest = toy.candidate.model_copy(update={"hazards": hazards})
    assert depth.hazard_suite("depth", manifest) == expected
    assert depth.hazard_suite("depth:file:x", manifest) == "file:x"


def test_gated_texts_are_read_with_a_token_as_the_run_read_them(
    toy, words, tmp_path, monkeypatch, capsys
):
    texts, tokens = {}, []
    for name in ("forget", "retain"):
        corpus = read_corpus(f"file:{tmp_path / name}.jsonl", cache=tmp_path)
        texts[f"hub:someone/{name}"] = corpus
    lineage = toy.candidate.lineage.model_copy(
        update={
            "corpora": {
                f"facts.{spec.rsplit('/')[-1]}": CorpusSource(spec=spec, digest=corpus.digest)
                for spec, corpus in texts.items()
            }
        }
    )
    gated = toy.candidate.model_copy(update={"lineage": lineage})
    monkeypatch.setattr(CheckpointStore, "get", lambda store, digest: gated)

    def read(spec, *, cache, token, min_characters):
        tokens.append(token)
        if token is None:
            raise GatedCorpusError("https://hub.example/someone", has_token=False)
        return texts[spec]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("unlearn.attacks.domain.read_corpus", read)
    monkeypatch.setattr("unlearn.evaluation.session.measure_run", stop)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert main(words) == 30
    said = capsys.readouterr().err
    assert "https://hub.example/someone is gated" in said
    assert "set HF_TOKEN or give --hub-token-file" in said
    file = tmp_path / "token"
    file.write_text("from a file\n")
    assert main([*words, "--hub-token-file", str(file)]) == 130
    monkeypatch.setenv("HF_TOKEN", "from the environment")
    assert main(words) == 130
    assert tokens == [None, *["from a file"] * 2, *["from the environment"] * 2]
