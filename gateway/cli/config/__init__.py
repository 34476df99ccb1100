"""`airlock config`: check the settings, show them, and write the page that documents them."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import SettingsError

from gateway.cli.config.finding import Finding
from gateway.cli.config.findings import findings_of, invalid, unknown_variables
from gateway.cli.config.page import settings_page
from gateway.cli.config.values import value_lines
from gateway.settings import Settings

EXAMPLES = """\
exit status of check: 0 nothing stands against a start, 1 something does; with --strict also 1 for
a warning.

examples:
  airlock config check
  AIRLOCK_CONFIG_FILE=/etc/airlock/airlock.toml airlock config check --strict
  airlock config show
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="say what is wrong or unsafe, and what to do")
    check.add_argument("--strict", action="store_true", help="let warnings fail, too")
    actions.add_parser("show", help="print every setting, where it comes from, and no secret")
    page = actions.add_parser("page", help="write the page that documents every setting")
    page.add_argument("--to", type=Path, metavar="FILE", help="(standard output)")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "check": _check,
        "show": _show,
        "page": _page,
    }
    return actions[args.action](args)


def _check(args: argparse.Namespace) -> int:
    found: list[Finding] = unknown_variables(os.environ)
    try:
        found += findings_of(Settings(home=args.home))
    except (ValidationError, SettingsError) as error:
        found += invalid(error)
    for finding in found:
        print(f"{finding.severity}: {finding.place}: {finding.problem}\n  {finding.remedy}")
    problems = sum(finding.severity == "problem" for finding in found)
    print(f"{_count(problems, 'problem')}, {_count(len(found) - problems, 'warning')}")
    return int(problems > 0 or (args.strict and bool(found)))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _show(args: argparse.Namespace) -> int:
    sys.stdout.writelines(f"{line}\n" for line in value_lines(Settings(home=args.home), os.environ))
    return 0


def _page(args: argparse.Namespace) -> int:
    if args.to is None:
        sys.stdout.write(settings_page())
    else:
        args.to.write_text(settings_page())
    return 0
