"""`airlock revoke`: end a checkpoint, at once and for ever."""

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path

from models.cli.terminal import plain_console, printable
from models.documents import Digest
from models.keyring import choose_keys
from models.release import current_releases
from models.revocation import revoke
from models.store import CheckpointStore
from models.trust import read_trust

WHOLE = re.compile(r"[0-9a-f]{64}")
EXAMPLES = """\
One releaser is enough. Every alias that points to the checkpoint answers 503 within a second or
two, until another checkpoint is promoted; a revocation cannot be taken back. A whole digest is
revoked also when the store is damaged or does not have the checkpoint any more.

examples:
  airlock revoke 3f9c2a --key ada.pem --reason "recovers bio after 10 steps of fine-tuning"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("checkpoint", help="digest, or a unique prefix of at least 6 digits")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="a releaser's")
    parser.add_argument("--reason", required=True, help="shown wherever it was served")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    store, trust = CheckpointStore(args.home / "store"), read_trust(args.home)
    digest = _named(store, args.checkpoint)
    now = datetime.now(UTC)
    key = choose_keys(args.home, "releaser", [args.key], 1).keys[0]
    revocation = revoke(store, trust, digest, key, reason=args.reason, now=now)
    console = plain_console()
    console.print(f"{digest} is revoked: {printable(revocation.reason)}")
    for refusal in current_releases(store, trust, now, {}).refused:
        console.print(f"{refusal.alias} is closed: {printable(refusal.reason)}")
    return 0


def _named(store: CheckpointStore, name: str) -> Digest:
    """Return what is to be revoked; a whole digest asks nothing of the store."""
    digits = name.removeprefix("sha256:")
    return f"sha256:{digits}" if WHOLE.fullmatch(digits) else store.resolve(name)
