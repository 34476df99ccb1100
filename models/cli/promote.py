"""`airlock promote`: point an alias to a gated checkpoint, by the signatures of two people."""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from models.approval import approve, check, proposed
from models.cli.numbers import whole
from models.cli.profile import add_profile, served_as
from models.cli.releases import add_policy, add_signing, announce, signing_keys
from models.documents import read_document
from models.errors import PromotionRefusedError
from models.fingerprint import Fingerprint, kept
from models.policy import Policy
from models.promotion import DEFAULT_LIFETIME, Wanted, draft, sign
from models.release import MAX_LIFETIME, SIGNERS
from models.store import CheckpointStore
from models.trust import read_trust

EXAMPLES = """\
A release takes effect when two releasers have signed it: here both at once, or one after the other
on two machines that see the same store. What the engine must be started with is part of it.

examples:
  airlock promote 3f9c2a --as smollm2:unlearned --reason "passed the gate" --dry-run
  airlock promote 3f9c2a --as smollm2:unlearned --reason "first" --key ada.pem --key grace.pem
  airlock promote 3f9c2a --as smollm2:unlearned --reason "first" --key ada.pem      # proposes
  airlock promote --approve smollm2:unlearned --dry-run                             # judges it
  airlock promote --approve smollm2:unlearned --key grace.pem                       # takes effect
  airlock promote 3f9c2a --as m:base --max-model-len 4096 --engine-flag=--max-num-seqs=64
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
    parser.add_argument(
        "checkpoint", nargs="?", help="digest, or a unique prefix of at least 6 digits"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--as", dest="alias", type=alias, metavar="FAMILY:LABEL")
    what.add_argument("--approve", type=alias, metavar="FAMILY:LABEL", help="sign what is proposed")
    add_signing(parser)
    add_policy(parser)
    parser.add_argument("--reason", default="", help="kept in the release")
    parser.add_argument(
        "--days",
        type=whole(1, MAX_LIFETIME.days),
        default=DEFAULT_LIFETIME.days,
        help="until it expires and must be promoted again (%(default)s)",
    )
    parser.add_argument(
        "--fingerprint",
        type=Path,
        metavar="FILE",
        help="what its engine must say; default: what it said when it was evaluated",
    )
    parser.add_argument(
        "--engine-version", help="of vLLM; default: what is installed here", metavar="VERSION"
    )
    add_profile(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    if args.approve:
        return _approve(args)
    store = CheckpointStore(args.home / "store")
    if args.checkpoint is None:
        raise PromotionRefusedError("name the checkpoint that --as should point to")
    digest = store.resolve(args.checkpoint)
    family, label = args.alias
    if store.get(digest).family != family:
        raise PromotionRefusedError(f"{digest} is of the family {store.get(digest).family}")
    profile = served_as(args, digest, store.path(digest), args.engine_version).profile()
    wanted = Wanted(
        label=label,
        checkpoint=digest,
        profile=profile,
        reason=args.reason,
        lifetime=timedelta(days=args.days),
        fingerprint=read_document(args.fingerprint, Fingerprint)
        if args.fingerprint
        else kept(store, digest, profile.document_digest),
    )
    console, now = Console(highlight=False, soft_wrap=True), datetime.now(UTC)
    trust = read_trust(args.home)
    release = draft(store, trust, wanted, Policy.load(args.policy), now)
    if wanted.fingerprint is None:
        console.print(
            "no behavioural fingerprint is known: its engines are served without that check"
        )
    if args.dry_run:
        console.print(f"{family}:{label} may point to {digest}; nothing was changed")
        return 0
    keys = signing_keys(args, SIGNERS, console)
    announce(console, sign(store, trust, release, keys, now))
    return 0


def _approve(args: argparse.Namespace) -> int:
    store, trust = CheckpointStore(args.home / "store"), read_trust(args.home)
    console, now = Console(highlight=False, soft_wrap=True), datetime.now(UTC)
    family, label = args.approve
    release = proposed(store, trust, family, label, now)
    console.print_json(release.model_dump_json(exclude={"verdict": {"rules"}}))
    policy = Policy.load(args.policy)
    if args.dry_run:
        check(store, trust, release, policy, now)
        return 0
    # Another person's key is never taken from a directory: an approval is a deliberate act.
    if len(args.key) != 1:
        raise PromotionRefusedError("approve it with one --key, the second person's")
    key = signing_keys(args, 1, console)[0]
    announce(console, approve(store, trust, release, key, policy, now))
    return 0
