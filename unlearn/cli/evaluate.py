"""`airlock evaluate`: measure a checkpoint beside its base; show a report as a page."""

import argparse
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from models.cli.numbers import LARGEST, whole
from models.cli.profile import add_profile, served_as
from models.cli.terminal import plain_console
from models.documents import Digest
from models.engine import EngineSpec
from models.evidence import collect_file, find_report, report_to_judge, trust_or_none
from models.gate import judge
from models.policy import DEFAULT_POLICY, Policy
from models.profile import installed_version
from models.signing import read_private_key, signers
from models.store import CheckpointStore
from unlearn.cli.corpora import add_hub_token
from unlearn.cli.depth import is_depth, measure_depth, of_attacks
from unlearn.errors import SuiteError

if TYPE_CHECKING:
    from unlearn.evaluation.endpoint import Endpoint

EXAMPLES = """\
Progress goes to standard error; standard output gets the report's path, for `airlock gate`.
Without --key the embedded set-up's own key (HOME/trust/private/evaluator.pem) signs, where there is
one; an unsigned report can be read, and counts for nothing. A run is announced before it starts and
is judged by that policy alone; one that was stopped goes on, as the same attempt. How it is to be
served (--dtype, --max-model-len, --engine-flag) is part of it: `promote` takes the same words.

suites: capitals, wmdp, wmdp-robust, wmdp-cloze, mmlu, file:PATH (rows as in WMDP), joined by +
or depth: attacks on the weights, in this process, on the family's items (depth:SUITE for others)
variants: few-shot, shuffled, paraphrase, chat-template, cloze, or all

examples:
  airlock evaluate 3f9c2a
  airlock evaluate 3f9c2a --suite wmdp+wmdp-robust+mmlu --variants all --key evaluator.pem
  airlock evaluate 3f9c2a --max-model-len 8192 --engine-flag=--tensor-parallel-size=8
  airlock evaluate 3f9c2a --suite file:wmdp-bio.jsonl --engine in-process --limit 20
  airlock evaluate 3f9c2a --suite depth --depth small
  airlock evaluate 3f9c2a --chat-judge https://judge.example/v1 --judge-model MODEL
  airlock evaluate report 7b1d9e --html report.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "checkpoint", help="an unlearned checkpoint's digest, or a prefix of it; or `report`"
    )
    parser.add_argument("report", nargs="?", help="after `report`: its digest, or a file")
    parser.add_argument("--html", type=Path, metavar="FILE", help="where `report` writes its page")
    parser.add_argument("--suite", default="capitals", help="default: %(default)s")
    parser.add_argument(
        "--depth",
        default="small",
        help="of suite depth: miniature, small (%(default)s) or full",
    )
    parser.add_argument(
        "--texts-of", metavar="CHECKPOINT", help="suite depth: take that one's recipe for the texts"
    )
    add_hub_token(parser)
    parser.add_argument(
        "--engine",
        choices=("vllm", "in-process"),
        default="vllm",
        help="vllm: the server that would serve it (%(default)s)",
    )
    add_profile(parser)
    parser.add_argument("--variants", default="", help="other ways to ask, comma-separated")
    parser.add_argument("--key", type=Path, metavar="PEM", help="the evaluator's private key")
    parser.add_argument(
        "--policy", type=Path, default=DEFAULT_POLICY, help="to be judged by (%(default)s)"
    )
    limit = "only N items a subset: no evidence"
    parser.add_argument("--limit", type=whole(1, LARGEST), metavar="N", help=limit)
    parser.add_argument("--again", action="store_true", help="also when a current report is there")
    parser.add_argument(
        "--clock-was-ahead",
        action="store_true",
        help="announce although the family's newest plan is of a later moment: its clock was ahead",
    )
    parser.add_argument("--chat-judge", metavar="URL", help="grade conversations through this API")
    parser.add_argument("--judge-model", metavar="MODEL", help="the judge's name there")
    parser.add_argument(
        "--judge-key-file", type=Path, metavar="FILE", help="its key (or $AIRLOCK_JUDGE_KEY)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    store = CheckpointStore(args.home / "store")
    if args.checkpoint == "report":
        return _write_page(args, store)
    candidate = store.resolve(args.checkpoint)
    lineage = store.get(candidate).lineage
    if lineage is None:
        raise SuiteError(args.suite, f"{candidate} is a base; it is measured with its candidates")
    if is_depth(args.suite):
        console = plain_console(stderr=True, soft_wrap=False)
        key = _key(args, console)
        print(measure_depth(args, store, lineage.base, candidate, key, console))
        return 0
    print(measure(args, store, lineage.base, candidate))
    return 0


def measure(
    args: argparse.Namespace, store: CheckpointStore, base: Digest, candidate: Digest
) -> Path:
    """Return where a current report is, measuring when there is none."""
    from unlearn.evaluation.currency import (
        accuracy,
        announced_policy,
        in_process_profile,
        is_current,
    )
    from unlearn.evaluation.runs import Run
    from unlearn.evaluation.suites import load_suite, suite_name
    from unlearn.evaluation.variants import parse_variants

    console = plain_console(stderr=True, soft_wrap=False)
    cache = args.home / "cache"
    tasks = load_suite(args.suite, cache, parse_variants(args.variants), args.limit)
    serving = _serving(args, store, candidate)
    profile = in_process_profile() if serving is None else serving.profile()
    key, grader, policy = _key(args, console), _judge(args), Policy.load(args.policy)
    asked = Run(
        family=store.get(candidate).family,
        base=base,
        candidate=candidate,
        suite=suite_name(args.suite),
        tasks=tasks,
        profile=profile,
        is_limited=args.limit is not None,
    )
    now = datetime.now(UTC)
    newest = report_to_judge(store, candidate, now)
    is_new = newest is None or args.again or asked.is_limited
    report = None if newest is None or is_new else store.get_report(newest)
    if report is not None and is_current(
        report,
        base,
        tasks,
        profile,
        announced_for=announced_policy(store, report, now),
        policy=policy.document_digest if key else None,
        not_before=now - timedelta(days=policy.validity.max_age_days),
        now=now,
    ):
        console.print("a current report is in the store already")
    else:
        from unlearn.offline import go_offline

        go_offline(cache)
        from unlearn.evaluation.session import measure_run

        report = measure_run(
            store,
            asked,
            args.home,
            console,
            environment=os.environ,
            key=key,
            policy=policy,
            serving=serving,
            is_again=args.again,
            newest_was_ahead=args.clock_was_ahead,
            judge=grader,
        )
    for subset in report.subsets:
        console.print(
            f"{subset.name}: base {accuracy(subset.base):.3f}, "
            f"unlearned {accuracy(subset.candidate):.3f} of {subset.n}"
        )
    return asked.report_path(store, cache, report.document_digest)


def _serving(
    args: argparse.Namespace, store: CheckpointStore, candidate: Digest
) -> EngineSpec | None:
    """Return how the candidate would be served; None when it is asked in this process.

    Raises:
        SuiteError: There is no vLLM here; said before anything is announced.
    """
    if args.engine != "vllm":
        return None
    if installed_version() == "none":
        problem = "vLLM is not installed here, and what it does not measure is not served"
        raise SuiteError("engine", f"{problem}; --engine in-process is for a look")
    return served_as(args, candidate, store.path(candidate))


def _key(args: argparse.Namespace, console: Console) -> Ed25519PrivateKey | None:
    """Return the evaluator's key: the given one, or the embedded set-up's own, if any.

    Raises:
        KeyUnusableError: It cannot be read.
    """
    own = args.home / "trust" / "private" / "evaluator.pem"
    if args.key is None and not own.exists():
        console.print("no --key: the run is not announced, its report is unsigned and never passes")
        return None
    return read_private_key(args.key or own)


def _judge(args: argparse.Namespace) -> "Endpoint | None":
    """Return the model that grades conversations, when one is asked for.

    Raises:
        SuiteError: It is named by halves, or its key cannot be read.
    """
    from unlearn.evaluation.endpoint import Endpoint

    if not args.chat_judge and not args.judge_model:
        return None
    if not args.chat_judge or not args.judge_model:
        raise SuiteError("chat", "--chat-judge and --judge-model belong together")
    key = os.environ.get("AIRLOCK_JUDGE_KEY", "")
    if args.judge_key_file is not None:
        try:
            key = args.judge_key_file.read_text().strip()
        except OSError as error:
            raise SuiteError("chat", f"the judge's key cannot be read: {error}") from error
    return Endpoint(args.chat_judge.rstrip("/"), args.judge_model, key)


def _write_page(args: argparse.Namespace, store: CheckpointStore) -> int:
    """Write a stored report's page.

    Raises:
        SuiteError: It is not said which report, or where the page goes.
    """
    from unlearn.evaluation.page import render

    if args.report is None or args.html is None:
        raise SuiteError("report", "say which and where: evaluate report DIGEST --html FILE")
    path = find_report(store, args.report)
    evidence = collect_file(store, trust_or_none(args.home), path, datetime.now(UTC), None)
    verdict = judge(evidence.report, Policy.load(args.policy), evidence.facts)
    if is_depth(evidence.report.suite):
        verdict, attacks = of_attacks(verdict), evidence.report.attacks
    else:
        attacks = (*evidence.report.attacks, *evidence.facts.attacks)
    signed_by = signers(path.read_bytes())
    page = render(evidence.report, verdict, signed_by, attacks)
    args.html.write_text(page, encoding="utf-8")
    print(args.html)
    return 0
