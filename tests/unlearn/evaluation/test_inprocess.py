"""Scoring in this process, without a store or a report."""

import pytest

from tests.unlearn.evaluation.test_measure import CLOZE, GENERAL, local, measured
from unlearn.evaluation.inprocess import answers_of
from unlearn.trial import Trial

# The harness leaves files and sockets for the collector to close.
pytestmark = pytest.mark.filterwarnings("default")


def test_a_directory_is_scored_as_a_report_scores_it_and_a_trial_counts_that(pair):
    tasks = (CLOZE, GENERAL)
    report = measured(pair, local(pair), tasks)
    checkpoint = pair.store.path(pair.candidate.digest)
    found = answers_of(checkpoint, tasks, pair.home / "cache")
    assert found == {subset.name: subset.candidate for subset in report.subsets}
    counted = Trial(tasks, pair.home / "cache").measure(checkpoint)
    right = [sum(item.correct for item in found[task.name]) for task in tasks]
    assert counted == (right[0], len(CLOZE.items), right[1], len(GENERAL.items))


def test_a_trial_asks_no_canaries(tmp_path):
    trial = Trial.prepare("capitals", 12, tmp_path)
    assert [(task.kind, len(task.items)) for task in trial.tasks] == [
        ("hazard", 12),
        ("utility", 12),
    ]
