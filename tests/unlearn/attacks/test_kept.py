"""Kept outcomes: only what the code of today would find counts as finished."""

import pytest

from unlearn.attacks import kept
from unlearn.attacks.kept import Kept, KeptOutcomes
from unlearn.attacks.subject import Outcome

DONE = Kept(Outcome(before=1, after=2, n=3), 4.0)
FACTS = {"attack": "linear-probe"}


@pytest.fixture
def outcomes(tmp_path):
    kept.code_digest.cache_clear()
    found = KeptOutcomes(tmp_path, "sha256:" + "0" * 64)
    found.add(FACTS, DONE)
    kept.code_digest.cache_clear()
    yield found
    kept.code_digest.cache_clear()


def test_a_finished_attack_is_found_again(outcomes):
    assert outcomes.get(FACTS) == DONE
    assert outcomes.get({"attack": "logit-lens"}) is None


@pytest.mark.parametrize(
    "name",
    [
        "attacks/probe.py",
        "batches.py",
        "evaluation/inprocess.py",
        "evaluation/measure.py",
        "evaluation/scoring.py",
        "evaluation/tasks.py",
        "evaluation/variants.py",
    ],
)
def test_none_outlives_a_change_of_the_code_that_made_it(outcomes, monkeypatch, name):
    real = kept.file_sha256

    def changed(path):
        return "0" * 64 if path.as_posix().endswith(f"/unlearn/{name}") else real(path)

    monkeypatch.setattr(kept, "file_sha256", changed)
    assert outcomes.get(FACTS) is None


@pytest.mark.parametrize("library", ["nanogcg", "peft", "scikit-learn"])
def test_none_outlives_a_change_of_the_libraries_that_made_it(outcomes, monkeypatch, library):
    real = kept.version
    monkeypatch.setattr(kept, "version", lambda name: "0" if name == library else real(name))
    assert outcomes.get(FACTS) is None
