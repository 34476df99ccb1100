"""What the chaos suite makes of requests: a wrong answer or a lost entry must show."""

from types import SimpleNamespace

import pytest

from tests.chaos.findings import (
    Finding,
    back_seconds,
    codes,
    cut_off,
    is_well,
    served,
    unaudited,
    wrong_door,
)
from tests.chaos.soak import growth
from tests.chaos.traffic import Asked, read

RIGHT = {"public": "unlearned", "researcher": "base"}


def asked(at: float, ended: float, who: str = "public", **given) -> Asked:
    given = {"gateway": 0, "status": 200, "code": "", "checkpoint": RIGHT[who]} | given
    given = {"request_id": f"req_{at}", "tokens": 10, "is_stream": False} | given
    return Asked(at=at, ended=ended, who=who, **given)


def system(at_base=(), intents=(), outcomes=()):
    return SimpleNamespace(
        digest=lambda label: label,
        wires={"engine base": SimpleNamespace(request_ids=set(at_base))},
        audited=lambda: (set(intents), set(outcomes)),
    )


def test_what_was_served_meanwhile_and_when_all_was_well_again():
    rows = [
        asked(0.5, 1.5, status=0),
        asked(2, 3),
        asked(2, 3, status=503, code="not_ready"),
        asked(2, 2.5, gateway=1),
        asked(2, 7, "researcher", status=0),
    ]
    assert served(rows, 1, 5, None) == {"public": 2 / 3, "researcher": 0}
    assert served(rows, 1, 5, 0) == {"public": 1, "researcher": 0}
    assert back_seconds(rows, 5) == {"public": 0, "researcher": 2}
    assert cut_off(rows, 1) == 1
    assert codes(rows) == {"0": 2, "not_ready": 1}


def test_all_is_well_when_every_caller_has_two_answers_since():
    callers = [(g, w, s) for g in (0, 1) for w in RIGHT for s in (False, True)]
    rows = [asked(10 + i, 11, w, gateway=g, is_stream=s) for g, w, s in callers for i in (0, 1)]
    assert is_well(rows, 10, 2)
    assert not is_well(rows[1:], 10, 2)
    assert not is_well(rows, 10.5, 2)
    assert not is_well([*rows, asked(12, 13, status=0)], 10, 2)


@pytest.mark.parametrize(
    ("row", "at_base", "wrong"),
    [
        (asked(1, 2), (), 0),
        (asked(1, 2, checkpoint="base"), (), 1),
        (asked(1, 2), ("req_1",), 1),
        (asked(1, 2, "researcher"), ("req_1",), 0),
        (asked(1, 2, "researcher", checkpoint="unlearned"), (), 1),
        (asked(1, 2, "researcher", checkpoint="", status=503), (), 0),
    ],
)
def test_another_door_shows_by_the_answer_and_on_the_wire(row, at_base, wrong):
    assert wrong_door(system(at_base), [row]) == wrong


def test_an_answer_of_the_base_without_its_entries_shows():
    rows = [asked(1, 2, "researcher"), asked(2, 3, "researcher"), asked(3, 4)]
    assert unaudited(system(intents=("req_1", "req_2"), outcomes=("req_1",)), rows) == (0, 1)
    assert unaudited(system(), rows) == (2, 2)


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        ({}, True),
        ({"wrong_door": 1}, False),
        ({"intents_lost": 1}, False),
        ({"outcomes_lost": 1}, False),
        ({"tokens": {"told": 6, "charged": 5, "counted": 7}}, False),
        ({"tokens": {"told": 5, "charged": 8, "counted": 7}}, False),
        ({"tokens": {"told": 5, "charged": 0, "counted": 0}, "resets_counts": True}, True),
    ],
)
def test_a_finding_is_right_when_nothing_was_lost_and_nobody_let_in(change, is_right):
    row = Finding("f", 0, 1, {}, 0, {}, {}, 0, 0, 0, {"told": 5, "charged": 6, "counted": 7}, False)
    for name, value in change.items():
        setattr(row, name, value)
    assert row.is_right == is_right
    assert row.document()["is_right"] == is_right


def test_an_answer_that_was_cut_or_is_an_error_is_none():
    whole = b'data: {"usage":{"total_tokens":9}}\n\ndata: [DONE]\n\n'
    assert read(whole, is_stream=True) == ("", 9)
    assert read(whole[:-16], is_stream=True) == ("", 0)
    assert read(b'data: {"error":{"code":"x"}}\n\n', is_stream=True) == ("x", 0)
    assert read(b'{"usage":{"total_tokens":9}}', is_stream=False) == ("", 9)
    assert read(b'{"error":{"code":"y"}}', is_stream=True) == ("y", 0)
    assert read(b"<html>", is_stream=False) == ("", 0)


def test_growth_is_what_the_end_has_more_than_the_beginning_after_settling():
    assert growth([5.0, 9, *[10] * 20]) == 0
    assert growth([0.0, 0, *range(2, 22)]) == 14
