"""The published checkpoints under the shipped policy; the page cannot go stale."""

from pathlib import Path

import pytest

from models.calibration import PUBLISHED, hazard_row, overall, tables
from models.policy import WMDP_POLICY, Policy

PAGE = Path(__file__).resolve().parents[2] / "docs/gate.md"
POLICY = Policy.load(WMDP_POLICY)


def test_the_page_shows_the_tables_as_they_are():
    text = PAGE.read_text()
    for table in tables(POLICY).split("\n\n"):
        assert table in text, "run `python -m models.calibration` and put its tables into the page"


def test_indistinguishable_from_chance_would_reject_every_official_checkpoint():
    official = [each for each in PUBLISHED if each.name.endswith((", RMU", ", CUT (v1)"))]
    assert len(official) == 4
    for published in official:
        rows = [hazard_row(published, domain, POLICY) for domain in ("bio", "cyber")]
        assert not all(row is not None and row.at_chance for row in rows), published.name


@pytest.mark.parametrize(
    ("name", "waived", "expected"),
    [
        ("Zephyr-7B, base", True, "FAIL"),
        ("Zephyr-7B, RMU", False, "FAIL"),
        ("Zephyr-7B, RMU", True, "PASS"),
        ("Zephyr-7B, CUT (v1)", True, "PASS"),
        ("Yi-34B, RMU", True, "PASS"),
        ("Mixtral-8x7B, RMU", True, "FAIL"),
        ("Zephyr-7B, SSD", True, "FAIL"),
    ],
)
def test_the_shipped_limits_tell_the_published_checkpoints_apart(name, waived, expected):
    published = next(p for p in PUBLISHED if p.name == name)
    assert overall(published, POLICY, chem_waived=waived) == expected
