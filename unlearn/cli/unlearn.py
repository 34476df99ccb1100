"""`airlock unlearn`: fetch a base model and unlearn it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.cli.terminal import plain_console, printable
from models.store import CheckpointStore
from unlearn.cli.corpora import add_arguments as add_corpus_arguments
from unlearn.cli.corpora import add_hub_token, hub_token
from unlearn.cli.corpora import run as run_corpus
from unlearn.cli.sweep import add_arguments as add_sweep_arguments
from unlearn.cli.sweep import run as run_sweep

if TYPE_CHECKING:
    from unlearn.plan import Plan

EXAMPLES = """\
Progress goes to standard error; the checkpoint's digest is all that standard output gets.

examples:
  airlock unlearn fetch
  airlock unlearn run smollm2-cut
  airlock unlearn run my-recipe.toml --base 3f9c2a --processes 2
  airlock unlearn run smollm2-rmu --set seed=1 --set coefficient=60 --set topics.0.alpha=5
  airlock unlearn run smollm2-rmu --dry-run
  airlock unlearn sweep smollm2-cut --vary layer=[3,5,7]
  airlock unlearn run smollm2-llmu            # a baseline of the paper; also -scrub, -ssd
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    add_corpus_arguments(actions.add_parser("corpus", help="look at a corpus, or write one"))
    add_sweep_arguments(actions.add_parser("sweep", help="look for a recipe by trying many"))
    actions.add_parser("fetch", help="fetch, check and convert the demo's base model")
    domain = actions.add_parser("domain", help="count a suite's items, and the stand-in's texts")
    domain.add_argument("--suite", default="capitals", help="default: %(default)s")
    run_ = actions.add_parser("run", help="unlearn a base checkpoint")
    run_.add_argument("recipe", help="a TOML file, or the name of a recipe that ships")
    run_.add_argument("--base", help="digest or prefix; default: the family's only base")
    run_.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="replace a value of the recipe, in TOML; the recipe that results is recorded",
    )
    run_.add_argument(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="share each batch among N processes, each with a GPU where there are some",
    )
    run_.add_argument(
        "--no-cache", action="store_true", help="neither read nor keep activations on disk"
    )
    run_.add_argument(
        "--cache-gib",
        type=positive,
        default=20,
        metavar="GIB",
        help="remove the longest unused cached activations beyond this (default: %(default)s)",
    )
    run_.add_argument(
        "--dry-run",
        action="store_true",
        help="print the recipe, and what a run would load, change, need and take",
    )
    add_hub_token(run_)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    if args.action == "corpus":
        return run_corpus(args)
    if args.action == "sweep":
        return run_sweep(args)
    store = CheckpointStore(args.home / "store")
    console = plain_console(stderr=True, soft_wrap=False)
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
    from unlearn.plan import find_done, make_plan, only_base

    config = load_recipe(args.recipe, args.overrides)
    if args.dry_run:
        from unlearn.cli.dry_run import show_plan

        there = any(m.is_base and m.family == config.family for m in store.manifests())
        known = store.resolve(args.base) if args.base else None
        known = known or (only_base(store, config.family) if there else None)
        show_plan(plain_console(soft_wrap=False), config, store, known, args.home / "cache")
        return 0
    base = store.resolve(args.base) if args.base else only_base(store, config.family)
    plan = make_plan(config, base, store, args.home / "cache", hub_token(args))
    done = find_done(store, plan)
    if done is not None:
        console.print("the same run's checkpoint is in the store already")
    print(done.digest if done else unlearn(console, plan, store, args))
    return 0


def unlearn(
    console: Console, plan: "Plan", store: CheckpointStore, args: argparse.Namespace
) -> str:
    """Run a plan under a progress bar; return the candidate's digest."""
    from unlearn.baselines.recipe import METHODS
    from unlearn.cache import GIB, ActivationCache
    from unlearn.curves import publish
    from unlearn.runlog import RunLog
    from unlearn.train import StepLog, run

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[gauges]}", markup=False),
    )
    cache = ActivationCache(
        args.home / "cache" / "activations", args.cache_gib * GIB, console.print
    )
    state = args.home / "runs" / plan.digest.removeprefix("sha256:")
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(plan.config.method, total=plan.config.steps, gauges="")

        def show(step: StepLog) -> None:
            gauges = f"{printable(step.topic)}  loss {step.loss:.3g}  "
            if plan.config.method in METHODS:
                gauges += f"forget {step.forget:.3g}  retain {step.retain:.3g}"
            else:
                gauges += (
                    f"forget norm {step.forget_norm:.3g}  retain cosine {step.retain_cosine:.4f}"
                )
            progress.update(bar, completed=step.step, gauges=gauges)
            log.write(step)

        shared = {"cache": None if args.no_cache else cache, "processes": args.processes}
        with RunLog(state.with_suffix(".jsonl")) as log:
            made = run(plan, store, state, show, **shared)
    directory = publish(log.path, store, made.digest, f"{plan.config.method} {made.digest[7:19]}")
    # A path is one word, however narrow the terminal.
    console.print(f"log and curves: {directory}", soft_wrap=True)
    return made.digest


def positive(word: str) -> int:
    """Return a word of the command line as a whole number above 0."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} is not above 0")
    return number


def show_domain(suite: str, cache: Path) -> None:
    """Print how many items a suite has, and how many texts the stand-in's corpora have."""
    from unlearn.evaluation.capitals import DATA
    from unlearn.evaluation.suites import load_suite

    for task in load_suite(suite, cache):
        print(f"{task.name}: {len(task.items)} items, {task.kind}")
    for name in ("forget", "retain") if suite == "capitals" else ():
        lines = (DATA / f"{name}.jsonl").read_bytes().splitlines()
        print(f"{name} corpus: {len(lines)} texts")
