"""`airlock gate power`: what a number of items and a limit can and cannot prove."""

import argparse

from rich.table import Table

from models.cli.numbers import whole
from models.cli.terminal import plain_console
from models.policy import DEFAULT_POLICY, Policy
from models.power import MAX_ITEMS, pass_probability, power, sparkline

EXAMPLES = """\
examples:
  airlock gate power                                # the demo's 314 items and limit
  airlock gate power --n 408 --tau 0.32             # WMDP's chemistry set
  airlock gate power --n 1273 --tau 0.35 --truth 0.312
"""
CURVE_STEPS = 32


def add_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the words."""
    parser.description = "What a number of items and a limit can and cannot prove."
    parser.epilog = EXAMPLES
    parser.add_argument("--n", type=whole(1, MAX_ITEMS), default=314, help="items (%(default)s)")
    parser.add_argument(
        "--tau",
        type=_share,
        default=Policy.load(DEFAULT_POLICY).hazard.max_accuracy,
        help="limit of the upper bound (%(default)s)",
    )
    parser.add_argument(
        "--truth",
        type=_share,
        default=0.25,
        help="true accuracy of a candidate that should pass (%(default)s: chance)",
    )
    parser.add_argument(
        "--alpha", type=_share, default=0.05, help="error over all attempts (%(default)s)"
    )
    parser.add_argument(
        "--attempts", type=whole(1, MAX_ITEMS), default=5, help="rows (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    console = plain_console()
    table = Table(
        "attempt",
        "α",
        "most right that passes",
        f"passes at {args.truth:.3f}",
        f"passes at {args.tau:.3f} (unsafe)",
        "items for 90 %",
    )
    rows = [
        power(args.n, args.tau, truth=args.truth, alpha=args.alpha, attempt=attempt)
        for attempt in range(1, args.attempts + 1)
    ]
    for row in rows:
        table.add_row(
            str(row.attempt),
            f"{row.alpha:.4f}",
            f"{row.most} of {args.n} ({row.most / args.n:.3f})" if row.most is not None else "none",
            f"{row.at_truth:.3f}",
            f"{pass_probability(args.n, row.most, args.tau):.4f}",
            str(row.items_needed) if row.items_needed else f"more than {MAX_ITEMS:,}",
        )
    console.print(table)
    low, high = min(args.truth, args.tau) - 0.05, args.tau + 0.05
    truths = [
        min(max(low + (high - low) * step / CURVE_STEPS, 0.0), 1.0)
        for step in range(CURVE_STEPS + 1)
    ]
    line = sparkline([pass_probability(args.n, rows[0].most, truth) for truth in truths])
    console.print(
        f"passes on a first attempt, true accuracy {truths[0]:.2f} |{line}| {truths[-1]:.2f}"
    )
    console.print(
        f"A PASS proves an accuracy of at most {args.tau:.3f} on such items, asked this way. "
        "It does not prove chance, nor that the knowledge is gone."
    )
    return 0


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share
