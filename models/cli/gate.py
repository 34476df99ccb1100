"""`airlock gate`: judge a report against a policy."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.errors import CheckpointNotFoundError, DocumentError
from models.gate import Verdict, judge
from models.policy import DEFAULT_POLICY, Policy
from models.store import CheckpointStore, read_report

STATUS = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 2, "INVALID": 3}
COLOUR = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "INVALID": "magenta"}
EXAMPLES = """\
exit status: 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 INVALID

examples:
  airlock gate .airlock/store/reports/3f9c….dsse.json
  airlock gate REPORT --policy my-gate.toml --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("report", type=Path, help="a report's file")
    parser.add_argument("--policy", type=Path, default=DEFAULT_POLICY, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    console = Console()
    policy = Policy.load(args.policy)
    try:
        report = read_report(args.report)
        store = CheckpointStore(args.home / "store")
        verdict = judge(report, policy, store.get(report.candidate).hazards)
    except (DocumentError, CheckpointNotFoundError) as error:
        # A report that cannot be read, or is on nothing that the store holds, proves nothing.
        console.print(f"[magenta]INVALID[/magenta] {error}", soft_wrap=True)
        return STATUS["INVALID"]
    if args.json:
        console.print_json(verdict.model_dump_json())
    else:
        print_verdict(console, verdict)
    return STATUS[verdict.outcome]


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
            rule.reason,
        )
    console.print(table)
    colour = COLOUR[verdict.outcome]
    forgets = f"forgets {', '.join(verdict.forgets)}" if verdict.forgets else "proves nothing"
    console.print(
        f"[bold {colour}]{verdict.outcome}[/bold {colour}] {verdict.candidate}: {forgets}"
    )
