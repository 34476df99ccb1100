"""`airlock checkpoints`: list, show and verify what the store holds."""

import argparse
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from models.cli.terminal import printable, table_console
from models.manifest import Lineage, Manifest
from models.release import newest_releases
from models.store import CheckpointStore

EXAMPLES = """\
examples:
  airlock checkpoints list
  airlock checkpoints show 3f9c2a            # a prefix of the digest is enough
  airlock checkpoints show 3f9c2a --json     # the manifest as it is stored
  airlock checkpoints verify 3f9c2a          # hash every byte again
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="all checkpoints, with the aliases that point to them")
    for name, summary in (
        ("show", "what a checkpoint is, where it came from and what differs from its base"),
        ("verify", "hash a checkpoint's bytes again; status 21 when they changed"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("checkpoint", help="digest, or a unique prefix of at least 6 digits")
        if name == "show":
            action.add_argument("--json", action="store_true", help="print the manifest alone")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    store = CheckpointStore(args.home / "store")
    console = table_console()
    if args.action == "list":
        console.print(_table(store))
    elif args.action == "show":
        manifest = store.get(store.resolve(args.checkpoint))
        if args.json:
            console.print_json(manifest.model_dump_json())
        else:
            for name, value in _facts(store, manifest):
                # Not wrapped, so that digests and paths can be copied; Text: no markup in values.
                console.print(
                    Text.assemble((f"{name:<17}", "bold"), printable(value)), soft_wrap=True
                )
    else:
        manifest = store.verify(store.resolve(args.checkpoint))
        console.print(f"{manifest.digest}: {len(manifest.files)} files, every byte as stored")
    return 0


def _facts(store: CheckpointStore, manifest: Manifest) -> Iterator[tuple[str, str]]:
    size = sum(entry.bytes for entry in manifest.files) / 1e6
    yield "checkpoint", manifest.digest
    yield "family", f"{manifest.family}; hazards: {', '.join(manifest.hazards)}"
    yield "files", f"{len(manifest.files)} files, {size:.1f} MB, in {store.path(manifest.digest)}"
    yield "stored", f"{manifest.created_at:%Y-%m-%d %H:%M:%S %Z}"
    if manifest.source:
        source = manifest.source
        yield "source", f"{source.name}, {source.package} {source.version} ({source.license})"
    if manifest.lineage:
        yield from _lineage_facts(manifest.lineage)
    run = store.run_path(manifest.digest)
    for path in sorted(run.iterdir()) if run.is_dir() else ():
        yield "run", str(path)


def _lineage_facts(lineage: Lineage) -> Iterator[tuple[str, str]]:
    yield "base", lineage.base
    yield "made by", f"{lineage.method}, {lineage.steps} steps, seed {lineage.seed}"
    for name, corpus in sorted(lineage.corpora.items()):
        revision = f"@{corpus.revision}" if corpus.revision else ""
        texts = "" if corpus.texts is None else f"{corpus.texts} texts, "
        yield name, f"{corpus.spec or 'corpus'}{revision}: {texts}{corpus.digest}"
    kind = f"rank {lineage.rank}" if lineage.rank else "full rank"
    yield "trained", f"{kind}: {', '.join(lineage.trained_tensors)}"
    if lineage.changes:
        changes = lineage.changes
        below = (
            ""
            if changes.first_trained_layer is None
            else f"; identical below layer {changes.first_trained_layer}"
        )
        yield (
            "differing",
            f"{len(changes.differing)} of {changes.tensors_compared} tensors, by "
            f"{changes.bytes_compared / 1e6:.1f} MB compared and "
            f"{changes.bytes_shared / 1e6:.1f} MB shared with the base{below}",
        )
    if lineage.restore:
        yield "restore adapter", f"{lineage.restore.path}/, rank {lineage.restore.rank}"
    yield "recipe", lineage.recipe_digest
    if lineage.data_order:
        yield "data order", lineage.data_order
    if lineage.environment:
        facts = lineage.environment.facts
        shown = (facts.get("cpu"), facts.get("gpu"), f"torch {facts.get('package.torch')}")
        yield "environment", f"{lineage.environment.digest} ({', '.join(filter(None, shown))})"
    yield "code", lineage.code_commit


def _table(store: CheckpointStore) -> Table:
    aliases: dict[str, list[str]] = {}
    waived: dict[str, set[str]] = {}
    # Whether a release still counts is not asked here: it needs the trust store.
    for release in newest_releases(store):
        aliases.setdefault(release.checkpoint, []).append(f"{release.alias} v{release.version}")
        waived.setdefault(release.checkpoint, set()).update(
            f"{item.rule} until {item.expires_at:%Y-%m-%d}" for item in release.waived
        )
    table = Table("checkpoint", "family", "made by", "from", "MB", "aliases", "waived", "reports")
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
            Text(printable(", ".join(sorted(waived.get(manifest.digest, ()))))),
            str(len(store.reports_for(manifest.digest))),
        )
    return table
