"""`airlock checkpoints`: list, show and verify what the store holds, and import a base."""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from models.admission import list_files
from models.cli.terminal import plain_console, printable, table_console
from models.cli.words import name
from models.imported import import_base
from models.manifest import Lineage, Manifest, files_digest
from models.release import newest_releases
from models.store import CheckpointStore

EXAMPLES = """\
examples:
  airlock checkpoints list
  airlock checkpoints show 3f9c2a            # a prefix of the digest is enough
  airlock checkpoints show 3f9c2a --json     # the manifest as it is stored
  airlock checkpoints verify 3f9c2a          # hash every byte again
  airlock checkpoints import weights --family zephyr-7b --hazard bio --hazard cyber \\
      --package HuggingFaceH4/zephyr-7b-beta --version 892b3d7a7b1cf10c7a701c60881cd93df615734c
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="all checkpoints, with the aliases that point to them")
    for what, summary in (
        ("show", "what a checkpoint is, where it came from and what differs from its base"),
        ("verify", "hash a checkpoint's bytes again; status 21 when they changed"),
    ):
        action = actions.add_parser(what, help=summary)
        action.add_argument("checkpoint", help="digest, or a unique prefix of at least 6 digits")
        if what == "show":
            action.add_argument("--json", action="store_true", help="print the manifest alone")
    _import_words(actions.add_parser("import", help="store a directory's files as a base"))


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
            for fact, value in _facts(store, manifest):
                # Not wrapped, so that digests and paths can be copied; Text: no markup in values.
                console.print(
                    Text.assemble((f"{fact:<17}", "bold"), printable(value)), soft_wrap=True
                )
    elif args.action == "import":
        _import(args, store)
    else:
        manifest = store.verify(store.resolve(args.checkpoint))
        console.print(f"{manifest.digest}: {len(manifest.files)} files, every byte as stored")
    return 0


def _import_words(action: argparse.ArgumentParser) -> None:
    action.add_argument("directory", type=Path, help="safetensors, JSON and text files alone")
    action.add_argument("--family", type=name, required=True, help="whose base it is")
    action.add_argument(
        "--hazard",
        type=name,
        action="append",
        required=True,
        help="a hazard domain of the family, repeatable: all that it knows",
    )
    action.add_argument("--package", default="unknown", help="where it came from")
    action.add_argument("--version", default="unknown", help="which one, such as a commit")
    action.add_argument("--license", default="unknown", help="under which it may be used")
    action.add_argument("--dry-run", action="store_true", help="check and hash, store nothing")


def _import(args: argparse.Namespace, store: CheckpointStore) -> None:
    console = plain_console()
    if args.dry_run:
        files = list_files(args.directory)
        console.print(f"{files_digest(files)}: {len(files)} files may enter; nothing was stored")
        return
    manifest = import_base(
        store,
        args.directory,
        family=args.family,
        hazards=tuple(sorted(set(args.hazard))),
        package=args.package,
        version=args.version,
        licence=args.license,
        now=datetime.now(UTC),
    )
    console.print(
        f"{manifest.digest}: {len(manifest.files)} files, base of {manifest.family}; "
        f"hazards: {', '.join(manifest.hazards)}"
    )


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
    for which, corpus in sorted(lineage.corpora.items()):
        revision = f"@{corpus.revision}" if corpus.revision else ""
        texts = "" if corpus.texts is None else f"{corpus.texts} texts, "
        yield which, f"{corpus.spec or 'corpus'}{revision}: {texts}{corpus.digest}"
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
