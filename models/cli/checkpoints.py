"""`airlock checkpoints`: list, show and verify what the store holds."""

import argparse

from rich.console import Console
from rich.table import Table

from models.release import newest_releases
from models.store import CheckpointStore

EXAMPLES = """\
examples:
  airlock checkpoints list
  airlock checkpoints show 3f9c2a            # a prefix of the digest is enough
  airlock checkpoints verify 3f9c2a          # hash every byte again
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="all checkpoints, with the aliases that point to them")
    for name, summary in (
        ("show", "one checkpoint's manifest, as JSON"),
        ("verify", "hash a checkpoint's bytes again; status 21 when they changed"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("checkpoint", help="digest, or a unique prefix of at least 6 digits")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    store = CheckpointStore(args.home / "store")
    console = Console()
    if args.action == "list":
        console.print(_table(store))
    elif args.action == "show":
        manifest = store.get(store.resolve(args.checkpoint))
        console.print_json(manifest.model_dump_json())
        console.print(f"digest: {manifest.digest}", highlight=False, soft_wrap=True)
    else:
        manifest = store.verify(store.resolve(args.checkpoint))
        console.print(f"{manifest.digest}: {len(manifest.files)} files, every byte as stored")
    return 0


def _table(store: CheckpointStore) -> Table:
    aliases: dict[str, list[str]] = {}
    # Whether a release still counts is not asked here: it needs the trust store.
    for release in newest_releases(store):
        aliases.setdefault(release.checkpoint, []).append(f"{release.alias} v{release.version}")
    table = Table("checkpoint", "family", "made by", "from", "MB", "aliases", "reports")
    for manifest in store.manifests():
        lineage = manifest.lineage
        size = sum(entry.bytes for entry in manifest.files) / 1e6
        table.add_row(
            manifest.digest[7:19],
            manifest.family,
            lineage.method if lineage else "import",
            lineage.base[7:19] if lineage else "",
            f"{size:.0f}",
            ", ".join(aliases.get(manifest.digest, [])),
            str(len(store.reports_for(manifest.digest))),
        )
    return table
