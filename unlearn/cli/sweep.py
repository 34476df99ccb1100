"""`airlock unlearn sweep`: look for a recipe by trying many."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.cli.terminal import plain_console, printable
from models.store import CheckpointStore
from unlearn.cli.corpora import add_hub_token, hub_token

if TYPE_CHECKING:
    from unlearn.sweep import Axis, Measured, Point
    from unlearn.train import StepLog

EXAMPLES = """\
Rows go to DIR/points.csv as they come, the plot to DIR/pareto.png; run it again to go on with what
was broken off, or with more values. Nothing enters the store.

examples:
  airlock unlearn sweep smollm2-cut --vary layer=[3,5,7,9] --vary coefficient=[200,400]
  airlock unlearn sweep smollm2-cut smollm2-rmu --vary seed=[0,1,2] --items 0 --out seeds
  airlock unlearn sweep smollm2-rmu --vary alpha=[10,100] --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `airlock unlearn sweep`."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="files, or names that ship")
    parser.add_argument(
        "--vary",
        type=axis,
        action="append",
        default=[],
        metavar="KEY=[VALUE,…]",
        help="values of one key; several keys make every combination",
    )
    parser.add_argument("--base", help="digest or prefix; default: the family's only base")
    parser.add_argument("--suite", default="capitals", help="default: %(default)s")
    parser.add_argument(
        "--items",
        type=int,
        default=120,
        metavar="N",
        help="measure on so many items of each kind, evenly spread; 0: all (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: <home>/sweeps/RECIPE-…")
    parser.add_argument("--dry-run", action="store_true", help="list the points and stop")
    add_hub_token(parser)


def axis(word: str) -> "Axis":
    """Return `key=[value, …]` as an axis, for argparse."""
    from unlearn.sweep import Axis

    key, _, text = word.partition("=")
    try:
        values = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{word} is not KEY=[VALUE,…]") from error
    if not key or not isinstance(values, list) or not values:
        raise argparse.ArgumentTypeError(f"{word} is not KEY=[VALUE,…]")
    return Axis(key, tuple(values))


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from unlearn.plan import Corpora, make_plan, only_base
    from unlearn.sweep import points

    todo = points(args.recipes, args.vary)
    out = args.out or args.home / "sweeps" / "-".join(Path(name).stem for name in args.recipes)
    console = plain_console(stderr=True, soft_wrap=False)
    if args.dry_run:
        for name, config in todo:
            topic = config.topics[0]
            console.print(
                f"{printable(name)}: layer {config.layer}, c {topic.coefficient:g}, "
                f"alpha {topic.alpha:g}, rank {config.rank}, seed {config.seed}, "
                f"{config.steps} steps"
            )
        console.print(f"{len(todo)} points; nothing was run")
        return 0
    store = CheckpointStore(args.home / "store")
    base = store.resolve(args.base) if args.base else only_base(store, todo[0][1].family)
    from unlearn.cache import GIB, ActivationCache
    from unlearn.pareto import plot
    from unlearn.sweep import sweep
    from unlearn.trial import Trial

    trial = Trial.prepare(args.suite, args.items, args.home / "cache")
    token, corpora = hub_token(args), Corpora()
    # A point that cannot be is said now, and not after hours of others.
    with console.status("reading the corpora"):
        for _, config in todo:
            make_plan(config, base, store, args.home / "cache", token, corpora)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("the base", total=len(todo))
        items = progress.add_task("items measured", total=None)

        def tell(known: int, of: int) -> None:
            progress.update(items, completed=known, total=of)

        def measure(checkpoint: Path) -> "Measured":
            return trial.measure(checkpoint, tell)

        def show(number: int, what: str, step: "StepLog | None") -> None:
            detail = f"step {step.step}, loss {step.loss:.3g}" if step else what
            name = printable(todo[number][0])
            progress.update(bar, completed=number, description=f"{name}: {detail}")

        measured = measure(store.path(base))
        found = sweep(
            todo,
            base,
            store,
            out,
            measure,
            corpora_cache=args.home / "cache",
            token=token,
            corpora=corpora,
            cache=ActivationCache(args.home / "cache" / "activations", 20 * GIB, console.print),
            on_point=show,
        )
        progress.update(bar, completed=len(todo), description="sweep")
    console.print(_table(found))
    if found:
        print(plot(found, measured, trial.chance, out))
    return 0


def _table(found: "list[Point]") -> Table:
    table = Table("recipe", "l", "c", "alpha", "rank", "seed", "hazard", "general", "seconds")
    for point in sorted(found, key=lambda point: point.hazard):
        table.add_row(
            printable(point.recipe),
            str(point.layer),
            f"{point.coefficient:g}",
            f"{point.alpha:g}",
            str(point.rank),
            str(point.seed),
            f"{point.hazard:.3f}",
            f"{point.general:.3f}",
            f"{point.seconds:.0f}",
        )
    return table
