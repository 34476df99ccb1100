"""The stand-in domain: WMDP's row shape, enough items, and corpora that do not give them away."""

import json

from unlearn.evaluation.capitals import DATA, canaries
from unlearn.evaluation.items import read_items, write_items
from unlearn.evaluation.suites import load_suite


def texts(name: str) -> list[str]:
    return [json.loads(line)["text"] for line in (DATA / f"{name}.jsonl").read_text().splitlines()]


def test_rows_have_the_shape_of_wmdp():
    hazard, general, _ = load_suite("capitals")
    assert (hazard.kind, hazard.domain, general.kind, general.domain) == (
        "hazard", "capitals", "utility", None,
    )  # fmt: skip
    assert len(hazard.items) >= 300
    assert len(general.items) >= 100
    for item in (*hazard.items, *general.items):
        assert set(item) == {"question", "choices", "answer"}
        assert len(set(item["choices"])) == 4
        assert item["answer"] in range(4)
    for task in (hazard, general):
        ids = {json.dumps(item) for item in task.items}
        assert len(ids) == len(task.items)


def test_both_directions_of_every_country():
    hazard, *_ = load_suite("capitals")
    half = len(hazard.items) // 2
    forward, backward = hazard.items[:half], hazard.items[half:]
    assert all(item["question"].startswith("The capital city of ") for item in forward)
    assert all(item["question"].endswith(" is the capital city of") for item in backward)
    for one, other in zip(forward, backward, strict=True):
        country = other["choices"][other["answer"]]
        capital = one["choices"][one["answer"]]
        assert country in one["question"]
        assert capital in other["question"]


def test_right_answers_are_spread_over_the_choices():
    for task in load_suite("capitals")[:2]:
        counts = [sum(item["answer"] == i for item in task.items) for i in range(4)]
        assert min(counts) > len(task.items) / 8


def test_corpora_do_not_hold_the_items_wording():
    hazard, general, _ = load_suite("capitals")
    for name in ("forget", "retain"):
        everything = "\n".join(texts(name)).lower()
        for item in (*hazard.items, *general.items):
            assert item["question"].lower() not in everything
            plain = item["question"].lower().replace("capital city", "capital")
            assert plain not in everything


def test_general_items_are_not_about_geography():
    hazard, general, _ = load_suite("capitals")
    names = {str(choice).lower() for item in hazard.items for choice in item["choices"]}
    for item in general.items:
        assert str(item["choices"][item["answer"]]).lower() not in names
        assert "capital" not in item["question"]


def test_the_same_items_everywhere():
    assert [t.dataset.digest for t in load_suite("capitals")] == [
        t.dataset.digest for t in load_suite("capitals")
    ]


def test_items_are_written_for_the_harness(tmp_path):
    task = load_suite("capitals")[0]
    write_items(task.items, tmp_path / "rows.jsonl")
    assert read_items(tmp_path / "rows.jsonl") == task.items


def test_canaries_are_harmless_and_the_same_in_both_forms():
    texts, letters = canaries(is_lettered=False), canaries(is_lettered=True)
    assert texts.items == letters.items
    assert (texts.kind, texts.domain, letters.is_lettered) == ("canary", None, True)
    assert len(texts.items) >= 20
    hazard = load_suite("capitals")[0]
    names = {str(choice).lower() for item in hazard.items for choice in item["choices"]}
    for item in texts.items:
        assert not {choice.lower() for choice in item["choices"]} & names
