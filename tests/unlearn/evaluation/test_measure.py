"""A harness run on tiny models: per item, paired, signed, resumed, and by the harness's scores."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.documents import digest_of
from models.errors import SignatureError
from models.report import Report
from models.signing import make_private_key, unseal
from models.trust import TrustedKey, TrustStore, key_id
from tests.servers import wait_for
from tests.unlearn.evaluation.conftest import ITEMS, Pair, completions
from unlearn.evaluation.capitals import cloze, lettered
from unlearn.evaluation.currency import in_process_profile, is_current
from unlearn.evaluation.endpoint import Endpoint
from unlearn.evaluation.items import item_id, read_items
from unlearn.evaluation.measure import evaluate, harness_config
from unlearn.evaluation.runs import Lane, Run
from unlearn.evaluation.tasks import Origin, Task
from unlearn.evaluation.variants import FEW_SHOT, VARIANTS, vary

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLOZE = Task("capitals", "hazard", "capitals", cloze("Question {{question}}"), ITEMS, Origin("x"))
LETTERS = Task("wmdp_bio", "hazard", "bio", lettered("The following\n\n"), ITEMS, Origin("x"))
GENERAL = Task("general", "utility", None, cloze("{{question}}"), ITEMS[:3], Origin("x"))
TASKS = (CLOZE, LETTERS, GENERAL)
# The harness leaves files and sockets for the collector to close.
pytestmark = pytest.mark.filterwarnings("default")


def run_of(pair: Pair, tasks=TASKS) -> Run:
    return Run(
        "smollm2", pair.base.digest, pair.candidate.digest, "s", tuple(tasks), in_process_profile()
    )


def measured(pair: Pair, scorers, tasks=TASKS, keys=(), at_once=2) -> Report:
    lane = Lane(scorers, 512, at_once)
    return evaluate(
        pair.store, run_of(pair, tasks), lane, pair.home / "cache", lambda *_: None, keys=keys
    )


def local(pair: Pair):
    # Imported here, so that the process that is killed needs no model library.
    from unlearn.evaluation.inprocess import in_process

    return {
        digest: lambda digest=digest: in_process(pair.store.path(digest))
        for digest in (pair.base.digest, pair.candidate.digest)
    }


@pytest.mark.usefixtures("float32")
def test_a_report_pairs_base_and_candidate_item_by_item(pair, serve):
    key = make_private_key(pair.home / "evaluator.pem")
    report = measured(pair, local(pair), keys=[key])
    assert pair.store.reports_for(pair.candidate.digest) == [report]
    profile = in_process_profile()
    today = {
        "announced_for": "sha256:today",
        "policy": "sha256:today",
        "not_before": report.ended_at - timedelta(days=1),
        "now": report.ended_at,
    }
    assert is_current(report, pair.base.digest, TASKS, profile, **today)
    assert not is_current(report, pair.base.digest, TASKS[:1], profile, **today)
    assert not is_current(report, pair.candidate.digest, TASKS, profile, **today)
    other = profile.model_copy(update={"dtype": "int4"})
    assert not is_current(report, pair.base.digest, TASKS, other, **today)
    expired = {**today, "not_before": report.ended_at}
    assert not is_current(report, pair.base.digest, TASKS, profile, **expired)
    from_the_future = {**today, "now": report.started_at - timedelta(days=1)}
    assert not is_current(report, pair.base.digest, TASKS, profile, **from_the_future)
    for announced in ("sha256:yesterday", None):
        changed = {**today, "announced_for": announced}
        assert not is_current(report, pair.base.digest, TASKS, profile, **changed)
    for subset, task in zip(report.subsets, TASKS, strict=True):
        assert subset.n == len(task.items)
        for answers in (subset.base, subset.candidate):
            assert [answer.id for answer in answers] == [item_id(item) for item in task.items]
            for answer, item in zip(answers, task.items, strict=True):
                assert answer.correct == (answer.choice == item["answer"])
                assert answer.margin >= 0
    assert report.harness.clean
    assert report.started_at < report.ended_at
    assert "river" not in report.model_dump_json(), "a report holds no item's text"
    hazard = report.subsets[0]
    assert [answer.choice for answer in hazard.base] == [
        best_choice(pair.store.path(pair.base.digest), f"Question {item['question']}")
        for item in ITEMS
    ]
    assert hazard.base != hazard.candidate
    assert_signed(pair, report, key)
    # The engine's lane gives the same report, item by item; margins differ by rounding.
    served = {
        digest: lambda digest=digest: Endpoint(
            serve(completions(pair.store.path(digest))).url, "m", "k"
        )
        for digest in (pair.base.digest, pair.candidate.digest)
    }
    (pair.home / "cache" / "answers").rename(pair.home / "cache" / "answers-in-process")
    again = measured(pair, served)
    for one, other in zip(report.subsets, again.subsets, strict=True):
        assert [a.choice for a in one.base] == [a.choice for a in other.base]
        assert [a.choice for a in one.candidate] == [a.choice for a in other.candidate]
        assert [a.margin for a in one.base] == pytest.approx(
            [a.margin for a in other.base], abs=1e-4
        )


def assert_signed(pair: Pair, report: Report, key) -> None:
    public = key.public_key().public_bytes_raw()
    trusted = TrustedKey(
        keyid=key_id(public),
        public=public.hex(),
        holder="evaluator",
        roles=("evaluator",),
        not_before=NOW,
        expires_at=NOW.replace(year=2100),
    )
    raw = pair.store.report_path(report.document_digest).read_bytes()
    now = datetime.now(UTC)
    trust = TrustStore(keys=(trusted,))
    assert unseal(raw, Report, trust, "evaluator", threshold=1, now=now) == report
    with pytest.raises(SignatureError):
        unseal(raw, Report, TrustStore(keys=()), "evaluator", threshold=1, now=now)


def best_choice(path: Path, prompt: str) -> int:
    """The same score, worked out without the harness."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path)
    scores = []
    for choice in ITEMS[0]["choices"]:
        start = tokenizer.encode(prompt)
        whole = tokenizer.encode(f"{prompt} {choice}")
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].float().log_softmax(-1)
        scores.append(sum(logits[i - 1, whole[i]].item() for i in range(len(start), len(whole))))
    return max(range(4), key=scores.__getitem__)


def test_variants_pair_with_the_plain_items(pair):
    # Five examples and the item that they stand before.
    plain_task = replace(LETTERS, items=(*ITEMS, {**ITEMS[0], "question": "h h"}))
    tasks = [made for variant in VARIANTS if (made := vary(plain_task, variant))]
    seen: list = []

    def scorer():
        def score(wanted):
            seen.extend(wanted)
            yield [(one, -float(sum(one.tokens) + len(one.context))) for one in wanted]

        return score

    report = measured(
        pair,
        dict.fromkeys((pair.base.digest, pair.candidate.digest), scorer),
        [plain_task, *tasks],
        at_once=1,
    )
    assert [s.variant for s in report.subsets] == ["plain", *VARIANTS]
    plain, *varied = report.subsets
    for subset in varied:
        assert [a.id for a in subset.base] == [a.id for a in plain.base]
        assert subset.variant_of == "wmdp_bio"
        assert subset.dataset == plain.dataset
        assert subset.prompt.digest != plain.prompt.digest
    assert len({subset.prompt.digest for subset in report.subsets}) == len(report.subsets)
    few_shot = next(subset for subset in varied if subset.variant == "few-shot")
    assert few_shot.prompt.few_shot == 5
    assert max(len(one.context) for one in seen) > 3 * min(len(one.context) for one in seen)


def test_no_item_stands_among_its_own_examples(pair):
    items = tuple(
        {"question": f"{name} tea ?", "choices": ["cup", "river", "The", "are"], "answer": 0}
        for name in "abcdefgh"
    )
    task = vary(replace(LETTERS, items=items), "few-shot")
    prompts: set = set()

    def scorer():
        def score(wanted):
            prompts.update(one.context for one in wanted)
            yield likelihoods(wanted)

        return score

    scorers = dict.fromkeys((pair.base.digest, pair.candidate.digest), scorer)
    measured(pair, scorers, [task], at_once=1)
    tokenizer = AutoTokenizer.from_pretrained(pair.store.path(pair.base.digest))
    asked = [re.findall(r"(\w) tea \?", tokenizer.decode(prompt)) for prompt in prompts]
    assert sorted(names[-1] for names in asked) == list("abcdefgh")
    for *examples, name in asked:
        assert len(examples) == FEW_SHOT
        assert name not in examples


@pytest.mark.parametrize(
    ("examples", "few_shot", "is_new"), [((), 0, False), (ITEMS, 5, False), ((), 5, True)]
)
def test_answers_to_prompts_that_showed_the_asked_item_are_not_taken_for_new_ones(
    examples, few_shot, is_new
):
    definition = {**LETTERS.definition, "num_fewshot": few_shot}
    task = replace(LETTERS, definition=definition, examples=examples)
    parts = {"items": digest_of(list(ITEMS)), "examples": digest_of(list(examples))}
    earlier = digest_of({"definition": definition, "chat_template": False, **parts})
    assert (task.prompt_digest != earlier) is is_new


def test_items_that_were_changed_on_the_disk_are_not_the_ones_that_are_asked(tmp_path):
    harness_config(GENERAL, tmp_path)
    (path,) = tmp_path.rglob("test.jsonl")
    written = path.stat().st_ino
    harness_config(GENERAL, tmp_path)
    assert path.stat().st_ino == written, "the same bytes are left alone"
    path.write_text(path.read_text().replace("tea", "cup"))
    harness_config(GENERAL, tmp_path)
    assert read_items(path) == GENERAL.items


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_likelihood_that_does_not_come_back_is_missing_not_guessed(pair, missing):
    def scorer():
        def score(wanted):
            yield [(one, -1.0 - one.tokens[0] if i else missing) for i, one in enumerate(wanted)]

        return score

    scorers = dict.fromkeys((pair.base.digest, pair.candidate.digest), scorer)
    report = measured(pair, scorers, [GENERAL], at_once=1)
    answers = report.subsets[0].base
    assert [answer.choice is None for answer in answers] == [True, False, False]
    assert (answers[0].correct, answers[0].margin) == (False, None)


def test_nothing_is_made_to_score_what_is_known(pair):
    made: list = []

    def scorer():
        made.append(1)

        def score(wanted):
            yield [(one, -float(sum(one.tokens))) for one in wanted]

        return score

    scorers = dict.fromkeys((pair.base.digest, pair.candidate.digest), scorer)
    first = measured(pair, scorers, [GENERAL], at_once=1)
    assert len(made) == 2
    again = measured(pair, scorers, [GENERAL], at_once=1)
    assert len(made) == 2
    assert again.subsets == first.subsets


def test_an_item_that_would_be_cut_is_an_error(pair):
    lane = Lane(local(pair), 4, 1)
    with pytest.raises(Exception, match="the engine takes 1 to 3"):
        evaluate(pair.store, run_of(pair), lane, pair.home / "cache", lambda *_: None)


KILLED = """
import sys, time
from pathlib import Path
from models.store import CheckpointStore
from tests.unlearn.evaluation.test_measure import CLOZE, likelihoods, measured
from tests.unlearn.evaluation.conftest import Pair
store = CheckpointStore(Path(sys.argv[1]))
pair = Pair(store, store.get(sys.argv[2]), store.get(sys.argv[3]))
def slow(wanted):
    for one in wanted:
        yield likelihoods([one])
        time.sleep(0.3)
measured(pair, dict.fromkeys(sys.argv[2:4], lambda: slow), [CLOZE])
"""


def likelihoods(wanted):
    return [(one, -float(sum(one.tokens) + len(one.context))) for one in wanted]


def test_a_run_that_was_killed_goes_on(pair):
    words = [str(pair.store.root), pair.base.digest, pair.candidate.digest]
    environment = {**os.environ, "PYTHONPATH": "."}
    process = subprocess.Popen([sys.executable, "-c", KILLED, *words], env=environment)
    try:
        wait_for(lambda: kept(pair) >= 5, 120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert pair.store.reports_for(pair.candidate.digest) == []
    known = kept(pair)
    # As if the kill had come in the middle of a line.
    path = next((pair.home / "cache" / "answers").rglob("*.jsonl"))
    with path.open("a") as stream:
        stream.write('["0123')
    asked: list = []

    def counting(wanted):
        asked.extend(wanted)
        yield likelihoods(wanted)

    report = measured(pair, dict.fromkeys(words[1:], lambda: counting), [CLOZE])
    assert len(asked) + known == 4 * 2 * len(ITEMS)
    assert [answer.choice for answer in report.subsets[0].base] == [1] * 5
    again = measured(pair, dict.fromkeys(words[1:], lambda: counting), [CLOZE])
    assert len(asked) + known == 4 * 2 * len(ITEMS), "the cut line did no harm"
    assert again.subsets == report.subsets
    for path in (pair.home / "cache" / "answers").rglob("*.jsonl"):
        assert "tea" not in path.read_text(), "answers hold no item's text"


def kept(pair: Pair) -> int:
    files = (pair.home / "cache" / "answers").rglob("*.jsonl")
    return sum(line.endswith("]\n") for path in files for line in path.read_text().splitlines(True))
