"""`airlock rollback`: point an alias to an earlier checkpoint, as its next version."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from models.cli.promote import alias
from models.policy import DEFAULT_POLICY, Policy
from models.release import examine, rollback, rollback_target
from models.store import CheckpointStore

EXAMPLES = """\
examples:
  airlock rollback smollm2:unlearned --dry-run
  airlock rollback smollm2:unlearned --to 3 --reason "version 4 answers too slowly"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("alias", type=alias, metavar="FAMILY:LABEL")
    parser.add_argument("--to", type=int, help="a version; default: the newest other checkpoint")
    parser.add_argument("--policy", type=Path, default=DEFAULT_POLICY, help="default: %(default)s")
    parser.add_argument("--reason", default="roll-back", help="kept in the release")
    parser.add_argument("--dry-run", action="store_true", help="judge, but change nothing")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    store = CheckpointStore(args.home / "store")
    family, label = args.alias
    policy = Policy.load(args.policy)
    console = Console(highlight=False, soft_wrap=True)
    if args.dry_run:
        target = rollback_target(store, family, label, args.to)
        examine(store, target.checkpoint, label, policy, datetime.now(UTC))
        console.print(f"{family}:{label} would go back to v{target.version}, {target.checkpoint}")
        return 0
    release = rollback(
        store,
        family,
        label,
        policy,
        to_version=args.to,
        reason=args.reason,
        now=datetime.now(UTC),
    )
    console.print(f"{release.alias} v{release.version} -> {release.checkpoint}")
    return 0
