"""`airlock evaluate`: measure a checkpoint beside its base."""

import argparse

from rich.console import Console

from models.documents import Digest
from models.store import CheckpointStore
from unlearn.errors import SuiteError

EXAMPLES = """\
Progress goes to standard error; standard output gets the report's path, for `airlock gate`.

examples:
  airlock evaluate 3f9c2a
  airlock evaluate 3f9c2a --suite capitals --again
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("checkpoint", help="an unlearned checkpoint's digest, or a prefix of it")
    parser.add_argument("--suite", default="capitals", help="default: %(default)s")
    parser.add_argument("--again", action="store_true", help="also when a current report is there")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    store = CheckpointStore(args.home / "store")
    candidate = store.resolve(args.checkpoint)
    lineage = store.get(candidate).lineage
    if lineage is None:
        raise SuiteError(args.suite, f"{candidate} is a base; it is measured with its candidates")
    print(store.report_path(measure(args, store, lineage.base, candidate)))
    return 0


def measure(
    args: argparse.Namespace, store: CheckpointStore, base: Digest, candidate: Digest
) -> Digest:
    """Return the digest of a current report, measuring when there is none."""
    from unlearn.currency import accuracy, is_current
    from unlearn.suites import load_suite

    tasks = load_suite(args.suite)
    console = Console(stderr=True, highlight=False)
    report = next(iter(store.reports_for(candidate)[-1:]), None)
    if report is not None and not args.again and is_current(report, base, tasks):
        console.print("a current report is in the store already")
    else:
        from unlearn.offline import go_offline

        go_offline(args.home / "cache")
        from unlearn.evaluate import evaluate

        report = evaluate(store, base, candidate, tasks, args.home / "cache", console.print)
    for subset in report.subsets:
        console.print(
            f"{subset.name}: base {accuracy(subset.base):.3f}, "
            f"unlearned {accuracy(subset.candidate):.3f} of {subset.n}"
        )
    return report.document_digest
