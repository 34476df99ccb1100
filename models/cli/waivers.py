"""`airlock gate waive` and `airlock gate waivers`: exceptions to one rule, by two people."""

import argparse
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.table import Table

from models.cli.numbers import whole
from models.cli.terminal import plain_console, printable
from models.evidence import trust_or_none
from models.signing import read_private_key
from models.store import CheckpointStore
from models.waiver import (
    MAX_DAYS,
    Waiver,
    approve_waiver,
    find_waiver,
    list_waivers,
    write_waiver,
)

EXAMPLES = """\
Two people sign, each with their own key, also on different machines. The policy says which rules
may be waived at all.

examples:
  airlock gate waive wmdp_chem.accuracy --family zephyr-7b --days 90 \\
      --reason "no forget corpus for chemistry; reviewed by …" --key walt.pem
  airlock gate waive --approve 3f9c2a --key wanda.pem
  airlock gate waivers
"""


def add_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the words of `waive` or `waivers`."""
    parser.epilog = EXAMPLES
    if what == "waivers":
        parser.description = "List the exceptions, and whether they count."
        return
    parser.description = "Sign an exception to one rule, or approve one."
    parser.add_argument("rule", nargs="?", metavar="SUBSET.RULE", help="as verdicts call it")
    parser.add_argument("--approve", metavar="WAIVER", help="sign this stored one instead")
    parser.add_argument("--family", help="of checkpoints")
    parser.add_argument("--reason", help="shown wherever the checkpoint is listed")
    parser.add_argument(
        "--days", type=whole(1, MAX_DAYS), default=90, help=f"at most {MAX_DAYS} (%(default)s)"
    )
    parser.add_argument(
        "--key", type=Path, action="append", required=True, help="a private key; may come twice"
    )


def run(args: argparse.Namespace) -> int:
    """Run one of the two."""
    store = CheckpointStore(args.home / "store")
    console = plain_console()
    if args.what == "waivers":
        console.print(_table(args, store))
        return 0
    keys = [read_private_key(path) for path in args.key]
    if args.approve:
        digest, waiver = find_waiver(store, args.approve)
        console.print_json(waiver.model_dump_json())
        for key in keys:
            approve_waiver(store, digest, key)
    else:
        missing = [word for word in ("rule", "family", "reason") if not getattr(args, word)]
        if missing:
            print(f"error: {', '.join(missing)} must be given", file=sys.stderr)
            return 2
        waiver = _waiver(args)
        digest = write_waiver(store, waiver, keys)
    now = datetime.now(UTC)
    listed = {item.digest: item for item in list_waivers(store, trust_or_none(args.home), now)}
    problem = listed[digest].problem
    console.print(
        f"{waiver.name} of {waiver.family}, until {waiver.expires_at:%Y-%m-%d}: "
        + (f"not in force: {printable(problem)}" if problem else "in force")
    )
    console.print(digest)
    return 0


def _waiver(args: argparse.Namespace) -> Waiver:
    subset, _, rule = args.rule.rpartition(".")
    now = datetime.now(UTC)
    given = {
        "family": args.family,
        "subset": subset,
        "rule": rule,
        "reason": args.reason,
        "created_at": now,
        "expires_at": now + timedelta(days=args.days),
    }
    return Waiver.model_validate(given)


def _table(args: argparse.Namespace, store: CheckpointStore) -> Table:
    table = Table("waiver", "family", "rule", "until", "counts", "reason")
    for item in list_waivers(store, trust_or_none(args.home), datetime.now(UTC)):
        table.add_row(
            item.digest[7:19],
            item.waiver.family,
            item.waiver.name,
            f"{item.waiver.expires_at:%Y-%m-%d}",
            "yes" if item.counts else f"no: {printable(item.problem)}",
            printable(item.waiver.reason),
        )
    return table
