"""A harness run on the tiny model: per item, paired, and by the harness's own scores."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.engine import native_dtype
from tests.unlearn.test_train import candidate
from unlearn.currency import is_current
from unlearn.evaluate import evaluate, item_id
from unlearn.suites import Task

ITEMS = tuple(
    {"question": question, "choices": ["a b", "c", "d e f", "g"], "answer": index % 4}
    for index, question in enumerate(("a", "b c", "h g", "e", "f f f"))
)
TASKS = (
    Task("capitals", "hazard", "capitals", "you are {{question}}", ITEMS),
    Task("general", "utility", None, "{{question}}", ITEMS[:3]),
)


# The harness leaves files and sockets for the collector to close.
@pytest.mark.filterwarnings("default")
def test_a_report_pairs_base_and_candidate_item_by_item(store, base, cut, tmp_path):
    made, _ = candidate(store, base, cut)
    report = evaluate(store, base.digest, made.digest, TASKS, tmp_path / "cache", lambda _: None)
    assert store.reports_for(made.digest) == [report]
    assert is_current(report, base.digest, TASKS)
    assert not is_current(report, base.digest, TASKS[:1])
    assert not is_current(report, made.digest, TASKS)
    hazard, general = report.subsets
    assert (hazard.n, general.n) == (5, 3)
    for subset, items in ((hazard, ITEMS), (general, ITEMS[:3])):
        for answers in (subset.base, subset.candidate):
            assert [answer.id for answer in answers] == [item_id(item) for item in items]
            for answer, item in zip(answers, items, strict=True):
                assert answer.correct == (answer.choice == item["answer"])
                assert answer.margin >= 0
    text = report.model_dump_json()
    assert "h g" not in text, "a report holds no item's text"
    assert hazard.base[2].choice == best_choice(store.path(base.digest), "you are h g")


def best_choice(path, prompt: str) -> int:
    """The same score, worked out without the harness."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, native_dtype()))
    tokenizer = AutoTokenizer.from_pretrained(path)
    scores = []
    for choice in ITEMS[0]["choices"]:
        start = tokenizer.encode(prompt)
        whole = tokenizer.encode(f"{prompt} {choice}")
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].float().log_softmax(-1)
        scores.append(sum(logits[i - 1, whole[i]].item() for i in range(len(start), len(whole))))
    return max(range(4), key=scores.__getitem__)
