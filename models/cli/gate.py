"""`airlock gate`: judge a report against a policy, plan what can be proven, manage waivers."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.cli import power, waivers
from models.cli.terminal import printable, table_console
from models.documents import Digest
from models.errors import RegistryError
from models.evidence import collect_file, find_report, trust_or_none
from models.gate import Verdict, judge
from models.policy import DEFAULT_POLICY, Policy
from models.release import newest_releases
from models.store import CheckpointStore

STATUS = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 2, "INVALID": 3}
COLOUR = {
    "PASS": "green",
    "WAIVED": "cyan",
    "FAIL": "red",
    "INCONCLUSIVE": "yellow",
    "INVALID": "magenta",
}


class Words(Protocol):
    """What the module of a further word provides."""

    def add_arguments(self, parser: argparse.ArgumentParser, what: str) -> None: ...
    def run(self, args: argparse.Namespace) -> int: ...


OTHERS: dict[str, Words] = {"power": power, "waive": waivers, "waivers": waivers}
EXAMPLES = """\
power      what a number of items and a limit can and cannot prove
waive      sign or approve an exception to one rule, for a while
waivers    list the exceptions, and whether they count

exit status: 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 INVALID

examples:
  airlock gate 3f9c2a                        # a prefix of a stored report's digest, or a file
  airlock gate REPORT --policy my-gate.toml --json
  airlock gate power --n 408 --tau 0.32
  airlock gate waive --help
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    _report_options(parser)
    parser.add_argument(
        "what", metavar="REPORT | power | waive | waivers", help="a file or a digest's prefix, or"
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    module: Words | None = OTHERS.get(args.what)
    nested = argparse.ArgumentParser(
        prog=f"airlock gate {args.what}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if module is None:
        _report_options(nested)
        return _judge(nested.parse_args(args.words, args))
    module.add_arguments(nested, args.what)
    return module.run(nested.parse_args(args.words, args))


def _report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, default=DEFAULT_POLICY, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def _judge(args: argparse.Namespace) -> int:
    policy = Policy.load(args.policy)
    store = CheckpointStore(args.home / "store")
    console = table_console()
    try:
        path = find_report(store, args.what)
        trust = trust_or_none(args.home)
        evidence = collect_file(store, trust, path, datetime.now(UTC), None)
        released = _released(store, evidence.report.family, evidence.report.candidate)
        if released is not None:
            evidence = collect_file(store, trust, path, evidence.facts.now, None, released=released)
    except RegistryError as error:
        # A report that cannot be read, or is on nothing that the store holds, proves nothing.
        where = sys.stderr if args.json else sys.stdout
        said = Text.assemble(("INVALID", "magenta"), f" {printable(error)}")
        Console(file=where).print(said, soft_wrap=True)
        return STATUS["INVALID"]
    verdict = judge(evidence.report, policy, evidence.facts)
    if args.json:
        console.print_json(verdict.model_dump_json())
    else:
        print_verdict(console, verdict)
    return STATUS[verdict.outcome]


def _released(store: CheckpointStore, family: str, candidate: Digest) -> Digest | None:
    """Return the released checkpoint whose attack results the candidate must not exceed."""
    found = [
        release.checkpoint
        for release in newest_releases(store)
        if release.family == family and release.verdict and release.checkpoint != candidate
    ]
    return found[-1] if found else None


def print_verdict(console: Console, verdict: Verdict) -> None:
    """Print every rule with its number, limit and reason, then the outcome."""
    table = Table("rule", "outcome", "value", "limit", "what it says")
    for rule in verdict.rules:
        colour = COLOUR[rule.outcome]
        table.add_row(
            rule.rule,
            f"[{colour}]{rule.outcome}[/{colour}]",
            f"{rule.value:.3f}",
            f"{rule.limit:.3f}",
            Text(printable(rule.reason)),
        )
    console.print(table)
    for item in verdict.waived:
        console.print(f"[cyan]WAIVED[/cyan] {item.rule} until {item.expires_at:%Y-%m-%d}")
    colour = COLOUR[verdict.outcome]
    forgets = f"forgets {', '.join(verdict.forgets)}" if verdict.forgets else "proves nothing"
    attempt = (
        f"attempt {verdict.attempt}, α {verdict.alpha_spent:.4f}"
        if verdict.attempt
        else "not announced"
    )
    console.print(
        f"[bold {colour}]{verdict.outcome}[/bold {colour}] {verdict.candidate}: {forgets}; "
        f"{attempt}; valid until {verdict.expires_at:%Y-%m-%d}"
    )
