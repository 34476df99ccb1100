"""One run of `airlock evaluate`: engines up, everything asked, a bar that moves, engines down."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from models.cli.terminal import printable
from models.documents import Digest
from models.engine import EngineSpec
from models.errors import EngineError
from models.evidence import trust_or_none
from models.fingerprint import keep, kept, record
from models.locks import locked
from models.plan import announce
from models.policy import Policy
from models.report import AttackResult, ChatQuality, ItemResult, Report
from models.store import CheckpointStore
from unlearn.errors import SuiteError
from unlearn.evaluation.announced import note, open_plan
from unlearn.evaluation.answers import Answers, answers_path
from unlearn.evaluation.chat import measure_chat
from unlearn.evaluation.endpoint import Endpoint
from unlearn.evaluation.engines import MAX_MODEL_LEN, Engines, context_window, engines
from unlearn.evaluation.harness import harness_version
from unlearn.evaluation.items import CHOICES
from unlearn.evaluation.runs import Lane, OnProgress, Run

Plain = Mapping[Digest, Mapping[str, tuple[ItemResult, ...]]]
Attack = Callable[[Progress, Plain], tuple[AttackResult, ...]]
"""Given the bar's display and both checkpoints' answers by task."""


def measure_run(
    store: CheckpointStore,
    run: Run,
    home: Path,
    console: Console,
    *,
    environment: Mapping[str, str],
    key: Ed25519PrivateKey | None,
    policy: Policy,
    serving: EngineSpec | None,
    is_again: bool,
    newest_was_ahead: bool = False,
    judge: Endpoint | None = None,
    attack: Attack | None = None,
) -> Report:
    """Measure a candidate and its base, and return the stored report.

    Args:
        store: Where the checkpoints are.
        run: What is measured.
        home: Where engines keep their log, and answers are kept under `cache`.
        console: Gets the bar.
        environment: What engines inherit.
        key: The evaluator's; without one the run cannot be announced, and counts for nothing.
        policy: What the report is to be judged by.
        serving: How both would be served, to be asked in that way; None to ask in this process.
        is_again: Whether answers that are known are thrown away first.
        newest_was_ahead: Whether the family's newest plan may be of a later moment.
        judge: Who grades conversations.
        attack: Attacks both checkpoints after they have answered, and shows how far it is.

    Raises:
        UnlearnError: What `evaluate` raises, a judge without engines to ask, or another run under
            this home: the two would use up each other's plan, answers and engines.
        SignatureError: The key is no trusted evaluator's, so that the run can't be announced.
        DocumentError: The family's chain of plans is broken, so that no run can be announced.
    """
    cache, keys = home / "cache", [] if key is None else [key]
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(cache / "evaluation.lock", wait=False))
        except BlockingIOError as error:
            problem = f"another evaluation runs under {home}; wait until it ends"
            raise SuiteError(run.suite, problem) from error
        for digest in run.checkpoints if is_again else ():
            Answers(answers_path(cache, digest, run.profile, harness_version())).forget()
        plan = _announce(
            store,
            run,
            home,
            key,
            policy,
            is_again=is_again,
            newest_was_ahead=newest_was_ahead,
        )
        lane, started = stack.enter_context(_scorers(store, run, home, environment, serving))
        # Imported here, while engines start: half the time of a short run would go into it.
        from unlearn.evaluation.measure import evaluate

        chat = None if judge is None else _chat(run, started, judge)
        with _bars(console, run) as (progress, bars):
            attacked = None if attack is None else partial(attack, progress)
            report = evaluate(
                store, run, lane, cache, bars, plan=plan, keys=keys, chat=chat, attack=attacked
            )
        if started is not None:
            _record_fingerprints(store, run, started, console)
    for digest, cost in (started.costs() if started else {}).items():
        console.print(f"{digest[7:19]}: {cost}")
    return report


@contextlib.contextmanager
def _scorers(
    store: CheckpointStore,
    run: Run,
    home: Path,
    environment: Mapping[str, str],
    serving: EngineSpec | None,
) -> Iterator[tuple[Lane, Engines | None]]:
    """Yield how likelihoods are computed, and the engines that do it, if any."""
    window = min(context_window(store.path(digest)) for digest in run.checkpoints)
    if serving is None:
        from unlearn.evaluation.inprocess import in_process

        # One after the other: each uses every processor.
        local = {d: partial(in_process, store.path(d)) for d in run.checkpoints}
        yield Lane(local, window, at_once=1), None
        return
    # A checkpoint that was asked before, as a base is by every candidate, mostly needs no engine.
    new = [
        digest
        for digest in run.checkpoints
        if not answers_path(home / "cache", digest, run.profile, harness_version()).exists()
    ]
    with engines(store, new, serving, home, environment) as started:
        served = {digest: partial(_endpoint, started, digest) for digest in run.checkpoints}
        yield Lane(served, min(MAX_MODEL_LEN, window), at_once=len(served)), started


def _endpoint(started: Engines, digest: Digest) -> Endpoint:
    return started[digest].endpoint()


def _record_fingerprints(
    store: CheckpointStore, run: Run, started: Engines, console: Console
) -> None:
    """Keep what the judged engines say, so that those that serve can be compared with them."""
    for digest in run.checkpoints:
        if digest not in started.costs() and kept(store, digest, run.profile.document_digest):
            continue
        endpoint = started[digest].endpoint()
        try:
            keep(store, record(endpoint.url, endpoint.api_key, digest, run.profile))
        except EngineError as error:
            console.print(f"{digest[7:19]} gets no behavioural fingerprint: {printable(error)}")


def _announce(
    store: CheckpointStore,
    run: Run,
    home: Path,
    key: Ed25519PrivateKey | None,
    policy: Policy,
    *,
    is_again: bool,
    newest_was_ahead: bool,
) -> Digest | None:
    """Announce the run before it starts, and return its plan: the one place where that is done.

    A limited run is not announced: its report cannot pass, so it is no attempt. One that goes on
    where it was stopped keeps its plan.
    """
    if key is None or run.is_limited:
        return None
    cache, now = home / "cache", datetime.now(UTC)
    begun = None if is_again else open_plan(store, cache, run, key, policy, now)
    if begun is not None:
        return begun.document_digest
    plan = announce(
        store,
        trust_or_none(home),
        key,
        policy,
        family=run.family,
        base=run.base,
        candidate=run.candidate,
        suite=run.suite,
        subsets=tuple(task.name for task in run.tasks),
        now=now,
        newest_was_ahead=newest_was_ahead,
    )
    note(cache, plan, run)
    return plan.document_digest


def _chat(run: Run, started: Engines | None, judge: Endpoint) -> Callable[[], ChatQuality]:
    if started is None:
        raise SuiteError("chat", "conversations need --engine vllm")
    return lambda: measure_chat(
        started[run.base].endpoint(), started[run.candidate].endpoint(), judge
    )


@contextlib.contextmanager
def _bars(console: Console, run: Run) -> Iterator[tuple[Progress, OnProgress]]:
    """Show a bar for each checkpoint, in items."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    total = sum(len(task.items) for task in run.tasks)
    with Progress(*columns, console=console) as progress:
        bars = {
            digest: progress.add_task(f"{who} {digest[7:19]}", total=total)
            for who, digest in zip(("base", "candidate"), run.checkpoints, strict=True)
        }

        def show(digest: Digest, known: int) -> None:
            progress.update(bars[digest], completed=known // CHOICES)

        yield progress, show
