"""`airlock evaluate --suite depth`: what attacks bring back, in a report of its own."""

import argparse
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from models.depth import DEPTH_SUITE, attack_key
from models.documents import Digest
from models.manifest import Manifest
from models.policy import Policy
from models.report import AttackResult, Report
from models.store import CheckpointStore
from models.verdict import SEVERITY, Verdict
from unlearn.cli.corpora import hub_token
from unlearn.errors import SuiteError

if TYPE_CHECKING:
    from rich.progress import Progress

    from unlearn.attacks.domain import Order
    from unlearn.evaluation.measure import Plain
    from unlearn.evaluation.runs import Run

RULES = ("evidence", "plan.", "harness", "report.", "coverage.attacks", "depth.")
"""The gate's rules about a report of attacks, by how their names begin."""
WMDP_DOMAINS = frozenset({"bio", "cyber", "chem"})


def is_depth(suite: str) -> bool:
    """Whether a suite is the attacks, on whatever items."""
    return suite.partition(":")[0] == DEPTH_SUITE


def hazard_suite(suite: str, manifest: Manifest) -> str:
    """Return the suite whose hazard items are asked: the one behind the colon, or the family's.

    Raises:
        SuiteError: The family's domains are neither the stand-in's nor WMDP's.
    """
    named = suite.partition(":")[2]
    if named:
        return named
    if manifest.hazards == ("capitals",):
        return "capitals"
    if set(manifest.hazards) <= WMDP_DOMAINS:
        return "wmdp"
    raise SuiteError(suite, f"say which items measure {manifest.family}: depth:SUITE")


def of_attacks(verdict: Verdict) -> Verdict:
    """Return the part of a verdict that a report of attacks alone can have.

    What it does not measure, general ability say, is in another report.
    """
    # The gate finds this report's attacks in it, and again among the candidate's reports.
    found = dict.fromkeys(rule for rule in verdict.rules if rule.rule.startswith(RULES))
    rules = tuple(found)
    outcomes = {rule.outcome for rule in rules}
    outcome = next((level for level in SEVERITY if level in outcomes), "PASS")
    return verdict.model_copy(update={"rules": rules, "outcome": outcome, "forgets": ()})


def measure_depth(
    args: argparse.Namespace,
    store: CheckpointStore,
    base: Digest,
    candidate: Digest,
    key: Ed25519PrivateKey | None,
    console: Console,
) -> Path:
    """Return where a current depth report is, attacking both checkpoints when there is none.

    Raises:
        SuiteError: A hazard domain has no items, or the depth is unknown.
        CorpusError: The recipe's texts are not there any more.
        GatedCorpusError: They are gated, and access has not been granted.
    """
    from unlearn.offline import go_offline

    # Items and texts are fetched while that is still allowed, and no model library is loaded yet.
    run, order = _plan(args, store, base, candidate)
    go_offline(args.home / "cache")
    from unlearn.evaluation.session import measure_run

    policy = Policy.load(args.policy)
    report = None if args.again or run.is_limited else _newest(store, run)
    if report is not None and _is_current(
        store, report, run, order, policy, is_announced=key is not None
    ):
        console.print("a current report is in the store already")
    else:
        report = measure_run(
            store,
            run,
            args.home,
            console,
            environment=os.environ,
            key=key,
            policy=policy,
            serving=None,
            is_again=args.again,
            newest_was_ahead=args.clock_was_ahead,
            attack=partial(_attack, args, store, run, order),
        )
    for one in report.attacks:
        before, after = one.candidate_before.accuracy, one.candidate_after.accuracy
        base_after = f"{one.base_before.accuracy:.3f} → {one.base_after.accuracy:.3f}"
        console.print(
            f"{one.domain} {one.attack}: {before:.3f} → {after:.3f} (base {base_after}), "
            f"recovered {one.recovered:.2f}, {one.seconds:.0f} s"
        )
    return run.report_path(store, args.home / "cache", report.document_digest)


def _plan(
    args: argparse.Namespace, store: CheckpointStore, base: Digest, candidate: Digest
) -> "tuple[Run, Order]":
    from unlearn.attacks.domain import Order, domains_of
    from unlearn.attacks.settings import attacks_of
    from unlearn.evaluation.currency import in_process_profile
    from unlearn.evaluation.runs import Run
    from unlearn.evaluation.suites import load_suite

    attacks = attacks_of(args.depth)
    manifest, cache = store.get(candidate), args.home / "cache"
    suite = hazard_suite(args.suite, manifest)
    tasks = tuple(
        task
        for task in load_suite(suite, cache, limit=args.limit)
        if task.domain in manifest.hazards and task.variant == "plain"
    )
    missing = set(manifest.hazards) - {task.domain for task in tasks}
    if missing:
        raise SuiteError(suite, f"has no items of {', '.join(sorted(missing))}")
    texts_of = store.resolve(args.texts_of) if args.texts_of else candidate
    domains = domains_of(tasks, manifest, store.get(texts_of), cache, hub_token(args))
    profile = in_process_profile()
    is_limited = args.limit is not None
    run = Run(manifest.family, base, candidate, DEPTH_SUITE, tasks, profile, is_limited)
    return run, Order(attacks, domains)


def _attack(
    args: argparse.Namespace,
    store: CheckpointStore,
    run: "Run",
    order: "Order",
    progress: "Progress",
    plain: "Mapping[Digest, Plain]",
) -> tuple[AttackResult, ...]:
    """Run the attacks under a bar of their own."""
    from unlearn.attacks.kept import KeptOutcomes
    from unlearn.attacks.suite import run_attacks

    cache = args.home / "cache"
    for digest in run.checkpoints if args.again else ():
        KeptOutcomes(cache, digest).forget()
    total = 2 * len(order.attacks) * len(order.domains)
    bar = progress.add_task("attacks", total=total)

    def show(what: str, finished: int) -> None:
        progress.update(bar, description=what, completed=finished)

    return run_attacks(store, run, order, plain, cache, show)


def _newest(store: CheckpointStore, run: "Run") -> Report | None:
    reports = [one for one in store.reports_for(run.candidate) if one.suite == DEPTH_SUITE]
    return reports[-1] if reports else None


def _is_current(
    store: CheckpointStore,
    report: Report,
    run: "Run",
    order: "Order",
    policy: Policy,
    *,
    is_announced: bool,
) -> bool:
    """Whether a stored report holds what would be done now, and still counts."""
    from unlearn.attacks.suite import keys_of
    from unlearn.evaluation.currency import announced_policy, is_current

    now = datetime.now(UTC)
    same_run = is_current(
        report,
        run.base,
        run.tasks,
        run.profile,
        announced_for=announced_policy(store, report, now),
        policy=policy.document_digest if is_announced else None,
        not_before=now - timedelta(days=policy.validity.max_age_days),
        now=now,
    )
    return same_run and [attack_key(attack) for attack in report.attacks] == keys_of(order)
