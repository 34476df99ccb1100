"""`airlock trust`: whose signatures count, for what, and until when."""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from models.cli.numbers import whole
from models.cli.terminal import plain_console, printable
from models.errors import KeyUnusableError
from models.keyring import DEFAULT_LIFETIME, make_demo_trust, private_directory, trusted_key
from models.names import name_key
from models.signing import make_private_key, read_machine_key
from models.trust import Role, TrustStore, read_trust, trust_lock, trust_path, write_trust

ROLES = get_args(Role)
MAX_DAYS = 3650
EXAMPLES = """\
A private key stays with its holder; the trust store holds public keys alone. Two keys of one holder
count once, however the name is spelled. A revoked key never counts again, also for what it has
signed before.

examples:
  airlock trust init                      # an empty store: nobody is trusted yet
  airlock trust init --demo               # every role, all keys on this machine: to try it out
  airlock trust new-key ada.pem           # on Ada's machine; prints the public key
  airlock trust public ada.pem            # prints it again
  airlock trust add 3f9c… --holder "Ada Lovelace" --role releaser --days 365
  airlock trust list
  airlock trust revoke 7d21c4
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    init = actions.add_parser("init", help="make the trust store")
    init.add_argument("--demo", action="store_true", help="with a key for every role, all here")
    new = actions.add_parser("new-key", help="make a private key and print its public half")
    new.add_argument("file", type=Path)
    public = actions.add_parser("public", help="print the public half of a private key")
    public.add_argument("file", type=Path)
    add = actions.add_parser("add", help="trust a public key")
    add.add_argument("public", help="64 hexadecimal digits, as `new-key` prints them")
    add.add_argument("--holder", required=True, help="the person or machine that has the key")
    add.add_argument("--role", action="append", choices=ROLES, required=True, help="repeatable")
    add.add_argument(
        "--days",
        type=whole(1, MAX_DAYS),
        default=DEFAULT_LIFETIME.days,
        help=f"at most {MAX_DAYS} (%(default)s)",
    )
    actions.add_parser("list", help="all keys")
    revoke = actions.add_parser("revoke", help="never count a key again")
    revoke.add_argument("key", help="its id, or a unique prefix of it")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    now = datetime.now(UTC)
    console = plain_console()
    if args.action == "init":
        _init(args.home, args.demo, now, console)
    elif args.action == "new-key":
        print(make_private_key(args.file).public_key().public_bytes_raw().hex())
    elif args.action == "public":
        print(read_machine_key(args.file).public_key().public_bytes_raw().hex())
    elif args.action == "add":
        _add(args, now, console)
    elif args.action == "list":
        console.print(_table(read_trust(args.home), now))
    else:
        _revoke(args.home, args.key, now, console)
    return 0


def _init(home: Path, is_demo: bool, now: datetime, console: Console) -> None:
    path = trust_path(home)
    with trust_lock(home):
        if path.exists():
            raise KeyUnusableError(path, "exists already; the trust store is never started anew")
        write_trust(home, make_demo_trust(home, now) if is_demo else TrustStore(keys=()))
    console.print(f"{path} made")
    if is_demo:
        console.print(
            f"every private key is in {private_directory(home)}: good for trying it out; in "
            "production each is another person's, on another machine"
        )


def _add(args: argparse.Namespace, now: datetime, console: Console) -> None:
    try:
        public = bytes.fromhex(args.public)
    except ValueError:
        public = b""
    if len(public) != 32:
        raise KeyUnusableError(Path(args.public), "is no public key of 64 hexadecimal digits")
    key = trusted_key(public, args.holder, tuple(args.role), now, timedelta(days=args.days))
    with trust_lock(args.home):
        trust = read_trust(args.home)
        if any(known.keyid == key.keyid for known in trust.keys):
            raise KeyUnusableError(Path(args.public), "is in the trust store already")
        for known in trust.keys:
            if known.holder != key.holder and name_key(known.holder) == name_key(key.holder):
                spelled = printable(known.holder)
                raise KeyUnusableError(Path(args.public), f"its holder is spelled {spelled} there")
        write_trust(args.home, TrustStore(keys=(*trust.keys, key)))
    console.print(f"{key.keyid[:12]} of {printable(key.holder)} counts for {', '.join(key.roles)}")


def _revoke(home: Path, prefix: str, now: datetime, console: Console) -> None:
    with trust_lock(home):
        trust = read_trust(home)
        # Of a store with one key, nothing (a variable that is not set) would be that key's prefix.
        found = [key for key in trust.keys if prefix and key.keyid.startswith(prefix)]
        if len(found) != 1:
            raise KeyUnusableError(Path(prefix), f"{len(found)} keys of the trust store begin so")
        revoked = found[0].model_copy(update={"revoked_at": found[0].revoked_at or now})
        keys = tuple(revoked if key.keyid == revoked.keyid else key for key in trust.keys)
        write_trust(home, TrustStore(keys=keys))
    console.print(f"{revoked.keyid[:12]} of {printable(revoked.holder)} does not count any more")


def _table(trust: TrustStore, now: datetime) -> Table:
    table = Table("key", "holder", "roles", "counts", "until")
    for key in trust.keys:
        counts = any(key.counts(role, now) for role in key.roles)
        table.add_row(
            key.keyid[:12],
            printable(key.holder),
            ", ".join(key.roles),
            "yes" if counts else "revoked" if key.revoked_at else "no",
            f"{key.expires_at:%Y-%m-%d}",
        )
    return table
