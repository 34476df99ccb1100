"""One unlearning run: CUT, RMU and Adaptive RMU are one loop with two switches, vector and target.

plan (resolve, in `unlearn.plan`) → fit (the loop) → export (check, write) → store (manifest last).
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from models.documents import Digest, digest_of
from models.manifest import Manifest
from models.store import CheckpointStore
from unlearn.activations import Segment
from unlearn.adapter import Factors
from unlearn.baselines.fit import fit as fit_baseline
from unlearn.baselines.recipe import BaselineConfig
from unlearn.baselines.steps import BaselineStep
from unlearn.cache import ActivationCache
from unlearn.config import RunConfig
from unlearn.errors import DivergedError, RecipeError
from unlearn.export import write_candidate
from unlearn.job import Job, write_job
from unlearn.layers import open_layers
from unlearn.losses import forget_target, gauges, masked_mse, total_loss
from unlearn.offline import quiet_libraries
from unlearn.order import Draw, draw, order_digest
from unlearn.plan import Plan, TopicCorpora
from unlearn.processes import ALONE, Group, lead
from unlearn.provenance import finish_lineage
from unlearn.resume import Progress
from unlearn.tensors import find_trained
from unlearn.topics import ReadyTopic, ready_topics
from unlearn.updates import TrainedTensors


class StepLog(NamedTuple):
    """What one step did."""

    step: int
    """From 1."""
    topic: str
    """Its hazard domain."""
    loss: float
    forget: float
    """The loss on texts to forget."""
    retain: float
    """The loss on texts to retain, before alpha."""
    retain_cosine: float
    """How much retain activations still point where they did; 1 before the first step."""
    forget_norm: float
    """The mean norm of the forget activations."""


class Fitted(NamedTuple):
    """What a run has trained."""

    updated: dict[str, Tensor]
    """The trained tensors by their names on disk, fp32."""
    factors: dict[str, Factors]
    """The low-rank updates by the same names; empty after a full-rank run."""
    vectors: dict[str, Tensor]
    """(P, D), fp32: the steering vectors by domain, times c."""
    order_digest: Digest
    """Of what each step drew, and of what it was drawn from."""


def run(
    plan: Plan,
    store: CheckpointStore,
    state: Path,
    on_step: Callable[[StepLog], None],
    *,
    cache: ActivationCache | None = None,
    processes: int = 1,
    save_every: int | None = None,
) -> Manifest:
    """Unlearn a base checkpoint and store the candidate, going on where a killed run stopped.

    Args:
        plan: The recipe, the base and the corpora.
        store: Where the base is and the candidate goes.
        state: A directory of this plan alone, for what a resumed run needs; gone at the end.
        on_step: Told of every step that is done here, so not of those before a resumption.
        cache: Where activations are kept; None: nowhere.
        processes: How many processes share each batch.
        save_every: Save the state at each so many steps; None: as often as is cheap.

    Raises:
        CheckpointCorruptError: The base's bytes have changed.
        TensorNotFoundError: The recipe does not fit the base.
        TokenizerMismatchError: The base's tokenizer does not fit its weights.
        DivergedError: The loss is not finite; nothing is stored.
        DiskFullError: No room for the state; nothing is stored.
        ProcessLostError: Another process has ended; nothing is stored.
        RecipeError: Several processes for a baseline.
        StrayUpdateError: A tensor changed that the recipe does not name; nothing is stored.
        StoreFullError: No room for the candidate.
    """
    base = plan.lineage.base
    manifest = store.verify(base)
    checkpoint = store.path(base)
    if isinstance(plan.config, RunConfig):
        job = Job(plan.config, checkpoint, plan.corpora, base, cache, state)
        with lead(processes, write_job(job) if processes > 1 else "") as group:
            fitted = fit(
                plan.config,
                checkpoint,
                plan.corpora,
                on_step,
                base=base,
                group=group,
                cache=cache,
                state=state,
                save_every=save_every,
            )
    else:
        if processes > 1:
            raise RecipeError(plan.config.method, "it runs in one process")
        fitted = _fit_baseline(plan.config, plan, checkpoint, on_step)
    with store.staging() as staged:
        changes = write_candidate(
            checkpoint, staged, fitted.updated, fitted.factors, fitted.vectors
        )
        made = store.put(
            staged,
            family=manifest.family,
            hazards=manifest.hazards,
            lineage=finish_lineage(
                plan.lineage, staged, changes, fitted.updated, fitted.order_digest
            ),
            created_at=datetime.now(UTC),
        )
    Progress.discard(state)
    return made


def _fit_baseline(
    config: BaselineConfig, plan: Plan, checkpoint: Path, on_step: Callable[[StepLog], None]
) -> Fitted:
    """Run a baseline; it has no steering vectors, and no activations to gauge."""

    def tell(done: BaselineStep) -> None:
        on_step(StepLog(*done, retain_cosine=math.nan, forget_norm=math.nan))

    updated = fit_baseline(config, checkpoint, plan.corpora, tell)
    # A baseline's order is a function of seed and texts, and so of what the plan's digest tells.
    return Fitted(updated, {}, {}, plan.digest)


def fit(
    config: RunConfig,
    checkpoint: Path,
    corpora: Sequence[TopicCorpora],
    on_step: Callable[[StepLog], None],
    *,
    base: Digest,
    group: Group = ALONE,
    cache: ActivationCache | None = None,
    state: Path | None = None,
    save_every: int | None = None,
) -> Fitted:
    """Run the loop and return what it has trained.

    Args:
        config: The recipe.
        checkpoint: The base's directory.
        corpora: Of each topic.
        on_step: Told of every step.
        base: The base's digest, a part of what cached activations are known by.
        group: This process among those that share each batch.
        cache: Where activations are kept; None: nowhere.
        state: Where what a resumed run needs is kept; None: nowhere.
        save_every: Save it at each so many steps; None: as often as is cheap.

    Raises:
        TensorNotFoundError: The recipe does not fit the checkpoint.
        TokenizerMismatchError: The tokenizer does not fit the checkpoint.
        DivergedError: The loss is not finite.
        DiskFullError: No room for the state.
        ProcessLostError: Another process has ended.
    """
    quiet_libraries()
    torch.manual_seed(config.seed)  # Nothing draws from it; should something ever, it repeats.
    generator = torch.Generator().manual_seed(config.seed)
    names = find_trained(checkpoint, config.trained_layers, config.trained_tensors)
    opened = open_layers(
        checkpoint, config.layer, getattr(torch, config.compute_dtype), group.device
    )
    topics = ready_topics(
        config,
        checkpoint,
        opened,
        corpora,
        base=base,
        group=group,
        cache=cache,
        generator=generator,
    )
    trained = TrainedTensors(opened, names, config.rank, generator)
    optimizer = torch.optim.AdamW(
        trained.masters.values(), lr=config.learning_rate, weight_decay=0.0
    )
    sizes = [topic.sizes for topic in topics]
    drawn_from = [
        source.batches.digest for topic in topics for source in (topic.forget, topic.retain)
    ]
    order = order_digest(config, sizes, drawn_from)
    loop = Loop(config, Segment(opened), trained, optimizer, group)
    progress = None
    if state is not None:
        what = digest_of([base, config.digest, order, group.size, torch.__version__])
        progress = Progress(state, what, trained.masters, optimizer, every=save_every)
    done = progress.restore() if progress else 0
    for step in range(done + 1, config.steps + 1):
        drawn = draw(config, sizes, step)
        on_step(loop.take(step, topics[drawn.topic], drawn))
        if progress and group.is_leader:
            progress.after(step)
    vectors = {ready.topic.domain: ready.vectors.cpu() * ready.coefficient for ready in topics}
    return Fitted(trained.updated(), trained.factors(), vectors, order)


def published_eps(step: int) -> float:
    """Return what torch's AdamW adds to the second moment's root, to step as the published code.

    That steps by transformers' AdamW, which adds 1e-6 before the moment is corrected for its start
    at zero, and torch adds behind. Gradients of a mean over thousands of positions and dimensions
    are smaller: its first steps are a fraction of the learning rate, torch's the whole of it.
    Source: transformers 4.38, optimization.py, `AdamW`; wmdp c0b6c12, rmu/unlearn.py.

    Args:
        step: From 1.
    """
    return float(1e-6 / (1 - 0.999**step) ** 0.5)


class Loop(NamedTuple):
    """What every step uses."""

    config: RunConfig
    segment: Segment
    trained: TrainedTensors
    optimizer: torch.optim.AdamW
    group: Group

    def take(self, step: int, ready: ReadyTopic, drawn: Draw) -> StepLog:
        """Take one step: forget and retain pass, their losses, one update of the masters.

        Raises:
            DivergedError: The loss is not finite; the masters are as they were.
            ProcessLostError: Another process has ended.
        """
        first, last = self.config.first, self.config.layer
        overlay = self.trained.overlay()
        gone, kept = ready.forget.give(drawn.forget), ready.retain.give(drawn.retain)
        is_shifted = self.config.target == "shifted"
        frozen = ready.forget.frozen(drawn.forget, gone) if is_shifted else None
        target = forget_target(frozen, ready.vectors[drawn.phrase], ready.coefficient)
        frozen_kept = ready.retain.frozen(drawn.retain, kept)
        state = self.segment.updated(gone.entered, gone.prefix, first, last, overlay)
        state_kept = self.segment.updated(kept.entered, kept.prefix, first, last, overlay)
        forget = masked_mse(state, target, gone.batch.mask, gone.batch.positions)
        retain = masked_mse(state_kept, frozen_kept, kept.batch.mask, kept.batch.positions)
        loss = total_loss(forget, retain, ready.topic.alpha)
        seen = gauges(state, gone.batch, state_kept, frozen_kept, kept.batch)
        values = torch.stack([loss.detach(), forget.detach(), retain.detach(), *seen])
        self.group.add_up([values])
        log = StepLog(step, ready.topic.domain, *values.tolist())
        if not math.isfinite(log.loss):
            raise DivergedError(step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.add_up([m.grad for m in self.trained.masters.values() if m.grad is not None])
        if self.config.numerics == "reference":
            self.optimizer.param_groups[0]["eps"] = published_eps(step)
        self.optimizer.step()
        return log
