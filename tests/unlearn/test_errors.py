"""Every error is in the drawing, ends with a status of its own, and those of corpora are listed."""

from pathlib import Path

import pytest

from unlearn import errors

LEAVES = errors.UnlearnError.__subclasses__()
DOCS = Path(__file__).resolve().parents[2] / "docs" / "unlearning.md"


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_an_error_is_in_the_drawing(leaf):
    assert f"─ {leaf.__name__} " in errors.__doc__


def test_every_error_has_its_own_exit_status():
    codes = [leaf.exit_code for leaf in LEAVES]
    assert len(set(codes)) == len(codes)
    assert errors.UnlearnError.exit_code not in codes


@pytest.mark.parametrize(
    "leaf",
    [
        errors.DownloadError,
        errors.CorruptFileError,
        errors.CorpusError,
        errors.DiskFullError,
        errors.GatedCorpusError,
        errors.WriterError,
    ],
)
def test_the_statuses_of_corpora_are_documented(leaf):
    section = DOCS.read_text().split("## Corpora")[1].split("\n## ")[0]
    assert f"| {leaf.exit_code} |" in section
