"""A run that was stopped goes on as the attempt that it was; any other one is another attempt."""

from dataclasses import replace
from datetime import timedelta

import pytest

from models.plan import announce, read_chain
from tests.models.checkpoints import EVALUATOR, NOW, POLICY, TRUST, WALT
from tests.models.test_gate import report
from tests.unlearn.evaluation.test_measure import CLOZE, GENERAL, run_of
from unlearn.evaluation.announced import note, open_plan
from unlearn.evaluation.capitals import cloze

TASKS = (CLOZE, GENERAL)


@pytest.fixture
def run(pair):
    return run_of(pair, TASKS)


@pytest.fixture
def plan(pair, run):
    return announce_one(pair, run)


def announce_one(pair, run, **changes):
    given = {
        "family": run.family,
        "base": run.base,
        "candidate": run.candidate,
        "suite": run.suite,
        "subsets": tuple(task.name for task in run.tasks),
        "now": NOW,
    }
    made = announce(pair.store, TRUST, EVALUATOR, POLICY, **{**given, **changes})
    note(pair.home / "cache", made, run)
    return made


def found(pair, run, key=EVALUATOR, policy=POLICY, days=1.0):
    cache = pair.home / "cache"
    return open_plan(pair.store, cache, run, key, policy, NOW + timedelta(days=days))


def test_the_same_run_goes_on_under_its_plan(pair, run, plan):
    assert found(pair, run) == plan
    assert found(pair, run, days=6.9) == plan
    assert len(read_chain(pair.store, run.family)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"days": 7.1},
        {"days": -0.1},
        {"key": WALT},
        {
            "policy": POLICY.model_copy(
                update={"waivers": POLICY.waivers.model_copy(update={"allowed": ("x.floor",)})}
            )
        },
    ],
)
def test_late_early_or_by_another_key_or_policy_it_is_another(pair, run, plan, other):
    assert found(pair, run, **other) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda run: replace(run, suite="t"),
        lambda run: replace(run, tasks=(CLOZE,)),
        lambda run: replace(run, tasks=(replace(CLOZE, items=CLOZE.items[:4]), GENERAL)),
        lambda run: replace(run, tasks=(replace(CLOZE, definition=cloze("{{question}}")), GENERAL)),
        lambda run: replace(run, profile=run.profile.model_copy(update={"dtype": "int8"})),
        lambda run: replace(run, candidate=run.base),
        lambda run: replace(run, family="other"),
    ],
)
def test_another_run_is_another_attempt(pair, run, plan, change):
    assert found(pair, change(run)) is None


def test_what_was_announced_since_makes_it_an_abandoned_attempt(pair, run, plan):
    later = announce_one(pair, replace(run, suite="t"), suite="t", now=NOW + timedelta(hours=1))
    assert later.attempt == 2
    assert found(pair, run) is None


def test_a_plan_that_was_carried_out_is_not_open(pair, run, plan):
    given = {"candidate": run.candidate, "base": run.base, "plan": plan.document_digest}
    pair.store.put_report(report().model_copy(update=given), [EVALUATOR])
    assert found(pair, run) is None


def test_without_the_answers_beside_it_nothing_goes_on(pair, run, plan):
    (pair.home / "cache" / "answers" / run.candidate[7:]).rename(pair.home / "gone")
    assert found(pair, run) is None


def test_without_any_plan_there_is_none(pair, run):
    assert found(pair, run) is None
