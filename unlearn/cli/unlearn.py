"""`airlock unlearn`: fetch a base model and unlearn it."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.store import CheckpointStore

if TYPE_CHECKING:
    from unlearn.plan import Plan

EXAMPLES = """\
Progress goes to standard error; the checkpoint's digest is all that standard output gets.

examples:
  airlock unlearn fetch
  airlock unlearn run smollm2-cut
  airlock unlearn run my-recipe.toml --base 3f9c2a --corpora my-corpora/
  airlock unlearn run smollm2-rmu --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("fetch", help="fetch, check and convert the demo's base model")
    domain = actions.add_parser("domain", help="build a suite's items and count its corpora")
    domain.add_argument("--suite", default="capitals", help="default: %(default)s")
    run_ = actions.add_parser("run", help="unlearn a base checkpoint")
    run_.add_argument("recipe", help="a TOML file, or the name of a recipe that ships")
    run_.add_argument("--base", help="digest or prefix; default: the family's only base")
    run_.add_argument(
        "--corpora",
        type=Path,
        default=Path(__file__).resolve().parents[1] / "capitals",
        help="directory with forget.jsonl and retain.jsonl (default: the demo's)",
    )
    run_.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    store = CheckpointStore(args.home / "store")
    console = Console(stderr=True, highlight=False)
    if args.action == "fetch":
        from unlearn.convert import fetch_base

        with console.status("looking into the store") as status:
            manifest = fetch_base(store, args.home / "cache", status.update)
        print(manifest.digest)
        return 0
    if args.action == "domain":
        show_domain(args.suite, args.home / "cache")
        return 0
    from unlearn.config import load_recipe

    config = load_recipe(args.recipe)
    if args.dry_run:
        print(json.dumps({**config.as_json(), "tensors": config.tensor_names}, indent=2))
        return 0
    base = store.resolve(args.base) if args.base else only_base(store, config.family)
    from unlearn.plan import find_done, make_plan

    plan = make_plan(config, base, args.corpora)
    done = find_done(store, plan)
    if done is not None:
        console.print("the same run's checkpoint is in the store already")
    print(done.digest if done else unlearn(console, plan, store))
    return 0


def unlearn(console: Console, plan: "Plan", store: CheckpointStore) -> str:
    """Run a plan under a progress bar; return the candidate's digest."""
    from unlearn.train import StepLog, run

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(plan.config.method, total=plan.config.steps, losses="")

        def show(log: StepLog) -> None:
            losses = f"forget {log.forget:.2f}  retain {log.retain:.4f}"
            progress.update(bar, completed=log.step, losses=losses)

        return run(plan, store, show).digest


def show_domain(suite: str, cache: Path) -> None:
    """Write a suite's items for the harness and print how many there are."""
    from unlearn.evaluation.capitals import DATA
    from unlearn.evaluation.suites import load_suite

    for task in load_suite(suite):
        print(f"{task.name}: {len(task.items)} items, {task.kind}")
    for name in ("forget", "retain"):
        lines = (DATA / f"{name}.jsonl").read_bytes().splitlines()
        print(f"{name} corpus: {len(lines)} texts")


def only_base(store: CheckpointStore, family: str) -> str:
    """Return a family's base checkpoint.

    Raises:
        RecipeError: There is none, or several.
    """
    from unlearn.errors import RecipeError

    bases = [m.digest for m in store.manifests() if m.is_base and m.family == family]
    if len(bases) != 1:
        raise RecipeError(family, f"the store has {len(bases)} bases; name one with --base")
    return bases[0]
