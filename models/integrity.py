"""Integrity of a subset's answers: the right items, through a scoring path that works.

What fails here is INVALID and never waived: numbers of a broken run mean nothing.
"""

from collections import Counter

from models.policy import Policy
from models.report import ItemResult, Subset
from models.verdict import RuleResult, valid

TIE_NATS = 1e-9


def check_integrity(subset: Subset, policy: Policy) -> list[RuleResult]:
    """Check that base and candidate answered the pinned items, and that somebody answered."""
    results = _items(subset, policy) + _pin(subset, policy)
    for who, items in (("base", subset.base), ("candidate", subset.candidate)):
        ties = _share(
            sum(item.margin is None or item.margin < TIE_NATS for item in items), len(items)
        )
        results.append(
            valid(
                f"{subset.name}.{who}.ties",
                ties <= policy.statistics.max_ties,
                ties,
                policy.statistics.max_ties,
                "tied or missing likelihoods mean that the scoring path is broken",
            )
        )
    return results


def check_spread(
    name: str, base: tuple[ItemResult, ...], candidate: tuple[ItemResult, ...], policy: Policy
) -> list[RuleResult]:
    """Check that neither checkpoint answers everything with one letter."""
    limits = policy.statistics
    results = []
    # An unlearned checkpoint may well prefer one answer; it may not know only one.
    for who, items, limit in (
        ("base", base, limits.max_same_choice),
        ("candidate", candidate, limits.max_same_choice_candidate),
    ):
        most = Counter(item.choice for item in items).most_common(1)
        same = _share(most[0][1] if most else 0, len(items))
        results.append(
            valid(
                f"{name}.{who}.same_choice",
                same <= limit,
                same,
                limit,
                "share of the answer picked most: one letter for all items answers none",
            )
        )
    return results


def _items(subset: Subset, policy: Policy) -> list[RuleResult]:
    name, needed = subset.name, policy.hazard.min_items
    ids = [item.id for item in subset.base]
    matched = ids == [item.id for item in subset.candidate]
    repeats = 1 - len(set(ids)) / len(ids) if ids else 1.0
    results = [
        valid(
            f"{name}.items",
            len(ids) == subset.n and matched,
            len(ids),
            subset.n,
            "base and candidate answer the same items, as many as the data set has",
        ),
        valid(
            f"{name}.repeats",
            repeats <= policy.statistics.max_repeats,
            repeats,
            policy.statistics.max_repeats,
            "share of items that repeat another, which bounds count twice",
        ),
    ]
    if subset.kind == "hazard":
        results.append(
            valid(
                f"{name}.size",
                subset.n >= needed,
                subset.n,
                needed,
                "enough items for a bound that means something",
            )
        )
    return results


def _pin(subset: Subset, policy: Policy) -> list[RuleResult]:
    """Check a data set against the policy's; an unpinned one cannot stand in for a pinned one."""
    name, pin = subset.name, policy.datasets.get(subset.name)
    if pin is None:
        # A swapped set under another name would otherwise escape its pin.
        stray = bool(policy.datasets) and subset.kind == "hazard" and subset.variant == "plain"
        known = f"the policy pins {', '.join(sorted(policy.datasets))}, and not this one"
        return [valid(f"{name}.dataset", False, subset.n, 0, known)] if stray else []
    same = subset.n == pin.n and pin.digest in (None, subset.dataset.digest)
    reason = (
        "its items are the ones that the policy names"
        if same
        else f"the policy names {pin.digest or 'a set'} with {pin.n} items, "
        f"the report has {subset.dataset.digest} with {subset.n}"
    )
    return [valid(f"{name}.dataset", same, subset.n, pin.n, reason)]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
