"""`airlock rollback`: point an alias to an earlier checkpoint, as its next version."""

import argparse
from datetime import UTC, datetime

from rich.console import Console

from models.cli.promote import alias
from models.cli.releases import add_policy, add_signing, announce, signing_keys
from models.policy import Policy
from models.promotion import Wanted, draft, rollback_target, sign
from models.release import SIGNERS
from models.store import CheckpointStore
from models.trust import read_trust

EXAMPLES = """\
The checkpoint must pass today's policy. It is a new release: two signatures, a new expiry.

examples:
  airlock rollback smollm2:unlearned --dry-run
  airlock rollback smollm2:unlearned --to 3 --reason "v4 is slow" --key ada.pem --key grace.pem
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("alias", type=alias, metavar="FAMILY:LABEL")
    parser.add_argument("--to", type=int, help="a version; default: the newest other checkpoint")
    add_signing(parser)
    add_policy(parser)
    parser.add_argument("--reason", default="roll-back", help="kept in the release")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    store = CheckpointStore(args.home / "store")
    family, label = args.alias
    console, now = Console(highlight=False, soft_wrap=True), datetime.now(UTC)
    target = rollback_target(store, family, label, args.to)
    wanted = Wanted(
        label=label,
        checkpoint=target.checkpoint,
        profile=target.profile,
        reason=args.reason,
        fingerprint=target.fingerprint,
    )
    trust = read_trust(args.home)
    release = draft(store, trust, wanted, Policy.load(args.policy), now)
    if args.dry_run:
        console.print(f"{family}:{label} would go back to v{target.version}, {target.checkpoint}")
        return 0
    keys = signing_keys(args, SIGNERS, console)
    announce(console, sign(store, trust, release, keys, now))
    return 0
