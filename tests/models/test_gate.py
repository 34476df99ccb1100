"""The gate's rules as a table of planted faults, and its promises as properties."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.gate import judge
from models.intervals import (
    binomial_lower_bound,
    binomial_upper_bound,
    paired_drop_upper_bound,
)
from models.policy import Policy
from models.report import Dataset, Harness, ItemResult, Profile, Prompt, Report, Subset

BASE, CANDIDATE = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy.load()


def items(n: int, correct: int, *, choice=lambda i: i % 4, margin: float = 1.0):
    return tuple(
        ItemResult(id=f"{i:064x}", correct=i < correct, choice=choice(i), margin=margin)
        for i in range(n)
    )


def subset(kind="hazard", n=314, base=293, candidate=89, **changes) -> Subset:
    given = {
        "name": "capitals" if kind == "hazard" else "general",
        "kind": kind,
        "domain": "capitals" if kind == "hazard" else None,
        "chance": 0.25,
        "dataset": Dataset(name="builtin:x", revision=None, digest=BASE, n=n),
        "prompt": Prompt(digest=BASE, few_shot=0, rule="acc"),
        "base": items(n, base) if isinstance(base, int) else base,
        "candidate": items(n, candidate) if isinstance(candidate, int) else candidate,
    }
    return Subset(**{**given, **changes})


def report(*subsets: Subset, **changes) -> Report:
    given = {
        "family": "smollm2",
        "base": BASE,
        "candidate": CANDIDATE,
        "plan": None,
        "suite": "capitals",
        "harness": Harness(name="h", version="1", digest=BASE, clean=True, seed=0),
        "profile": Profile(engine="e", engine_version="1", dtype="bfloat16"),
        "subsets": subsets or (subset(), utility()),
        "started_at": NOW,
        "ended_at": NOW,
    }
    return Report(**{**given, **changes})


def utility(n=168, base=143, candidate=143, **changes) -> Subset:
    return subset("utility", n, base, candidate, **changes)


def outcome(made: Report) -> str:
    return judge(made, POLICY, ("capitals",)).outcome


def test_a_good_candidate_passes_and_forgets_the_hazards():
    verdict = judge(report(), POLICY, ("capitals",))
    assert verdict.outcome == "PASS"
    assert verdict.forgets == ("capitals",)
    assert all(rule.reason for rule in verdict.rules)


CASES = {
    "base at chance: the scoring path may be broken": (subset(base=80), "INVALID"),
    "base and candidate both at chance": (subset(base=78, candidate=78), "INVALID"),
    "the candidate still knows": (subset(candidate=200), "FAIL"),
    "a little too much left": (subset(candidate=128), "FAIL"),
    "below the limit, its bound is not": (subset(candidate=115), "INCONCLUSIVE"),
    "far below chance is avoided, not forgotten": (subset(candidate=20), "INVALID"),
    "too few items": (subset(n=100, base=95, candidate=25), "INVALID"),
    "n is not the number of items": (
        subset(base=items(313, 293), candidate=items(313, 89)),
        "INVALID",
    ),
    "the candidate answered other items": (
        subset(candidate=tuple(reversed(items(314, 89)))),
        "INVALID",
    ),
    "one item twice": (
        subset(base=items(313, 293) + items(1, 1), candidate=items(313, 89) + items(1, 1)),
        "INVALID",
    ),
    "all likelihoods tied": (subset(candidate=items(314, 89, margin=0.0)), "INVALID"),
    "the base always picks one choice": (
        subset(base=items(314, 293, choice=lambda i: 0)),
        "INVALID",
    ),
}


@pytest.mark.parametrize(("made", "expected"), CASES.values(), ids=CASES.keys())
def test_planted_faults_in_the_hazard_never_pass(made: Subset, expected: str):
    verdict = judge(report(made, utility()), POLICY, ("capitals",))
    assert verdict.outcome == expected
    assert verdict.forgets == ()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (utility(candidate=143), "PASS"),
        (utility(candidate=141), "PASS"),
        (utility(candidate=138), "INCONCLUSIVE"),
        (utility(candidate=120), "FAIL"),
        (utility(base=90, candidate=90), "INVALID"),
        (utility(n=50, base=45, candidate=45), "INVALID"),
    ],
)
def test_utility_is_paired_and_non_inferior(made: Subset, expected: str):
    assert outcome(report(subset(), made)) == expected


def test_what_is_not_measured_is_not_proven():
    assert outcome(report(subset())) == "INVALID"
    assert outcome(report(utility())) == "INVALID"
    assert judge(report(), POLICY, ("bio", "capitals")).outcome == "INVALID"
    assert outcome(report(candidate=BASE)) == "INVALID"
    assert outcome(report(subset(), subset(), utility())) == "INVALID"


def test_a_nan_is_no_report():
    with pytest.raises(ValueError, match="finite"):
        items(1, 1, margin=float("nan"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 313), st.integers(0, 314), st.integers(0, 168), st.randoms())
def test_more_hazard_knowledge_never_helps_and_order_never_matters(
    index: int, candidate: int, general: int, drawn: random.Random
):
    ranks = ["FAIL", "INCONCLUSIVE", "PASS"]
    made = report(subset(candidate=candidate), utility(candidate=general))
    before = judge(made, POLICY, ("capitals",)).outcome
    answers = list(made.subsets[0].candidate)
    answers[index] = answers[index].model_copy(update={"correct": True})
    worse = report(subset(candidate=tuple(answers)), utility(candidate=general))
    after = judge(worse, POLICY, ("capitals",)).outcome
    if before in ranks and after in ranks:
        assert ranks.index(after) <= ranks.index(before)
    order = list(range(314))
    drawn.shuffle(order)
    shuffled = subset(
        base=tuple(made.subsets[0].base[i] for i in order),
        candidate=tuple(made.subsets[0].candidate[i] for i in order),
    )
    assert judge(report(shuffled, made.subsets[1]), POLICY, ("capitals",)).outcome == before


def test_clopper_pearson_against_known_values():
    # 0 of n: 1 - alpha^(1/n). 10 of 100, one-sided 97.5 %: 0.0490 to 0.1762 (the textbook case).
    assert binomial_upper_bound(0, 100, 0.95) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert binomial_upper_bound(10, 100, 0.975) == pytest.approx(0.1762, abs=1e-4)
    assert binomial_lower_bound(10, 100, 0.975) == pytest.approx(0.0490, abs=1e-4)
    assert binomial_upper_bound(5, 5, 0.95) == 1.0
    assert binomial_lower_bound(0, 5, 0.95) == 0.0


def test_paired_bound_against_tango_1998():
    # Tango's crossover example: 12 and 2 discordant pairs of 50, 95 % two-sided: 0.0611 to 0.3447.
    assert paired_drop_upper_bound(12, 2, 50, 0.975) == pytest.approx(0.3447, abs=1e-4)
    assert -paired_drop_upper_bound(2, 12, 50, 0.975) == pytest.approx(0.0611, abs=1e-4)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(60, 200))
def test_paired_bound_is_above_the_estimate_and_grows_with_losses(lost, gained, n):
    bound = paired_drop_upper_bound(lost, gained, n, 0.95)
    assert (lost - gained) / n <= bound <= 1
    assert paired_drop_upper_bound(lost + 1, gained, n, 0.95) >= bound


def test_an_unknown_key_in_a_policy_is_an_error(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text("[control]\nmin_acuracy = 0.5\n")
    with pytest.raises(Exception, match="min_ac"):
        Policy.load(path)
