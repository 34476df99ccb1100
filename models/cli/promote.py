"""`airlock promote`: point an alias to a gated checkpoint."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from models.errors import PromotionRefusedError
from models.policy import DEFAULT_POLICY, Policy
from models.release import examine, promote
from models.store import CheckpointStore

EXAMPLES = """\
examples:
  airlock promote 3f9c2a --as smollm2:unlearned --reason "first release"
  airlock promote 3f9c2a --as smollm2:unlearned --dry-run    # would it be allowed?
"""


def alias(text: str) -> tuple[str, str]:
    """Split `family:label`, for argparse."""
    family, colon, label = text.partition(":")
    if not (family and colon and label):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form family:label")
    return family, label


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("checkpoint", help="digest, or a unique prefix of at least 6 digits")
    parser.add_argument("--as", dest="alias", type=alias, required=True, metavar="FAMILY:LABEL")
    parser.add_argument("--policy", type=Path, default=DEFAULT_POLICY, help="default: %(default)s")
    parser.add_argument("--reason", default="", help="kept in the release")
    parser.add_argument("--dry-run", action="store_true", help="judge, but change nothing")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    store = CheckpointStore(args.home / "store")
    digest = store.resolve(args.checkpoint)
    family, label = args.alias
    if store.get(digest).family != family:
        raise PromotionRefusedError(f"{digest} is of the family {store.get(digest).family}")
    policy = Policy.load(args.policy)
    console = Console(highlight=False, soft_wrap=True)
    if args.dry_run:
        examine(store, digest, label, policy, datetime.now(UTC))
        console.print(f"{family}:{label} may point to {digest}; nothing was changed")
        return 0
    release = promote(store, digest, label, policy, reason=args.reason, now=datetime.now(UTC))
    console.print(f"{release.alias} v{release.version} -> {release.checkpoint}")
    return 0
