"""One unlearning run: CUT and RMU are the same loop with two switches, vector and target.

plan (resolve, in `unlearn.plan`) → fit (the loop) → store (check, write, manifest last).
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.manifest import Manifest
from models.store import CheckpointStore
from unlearn.activations import SplitModel
from unlearn.batches import endless_batches, make_batch
from unlearn.config import RunConfig
from unlearn.corpora import Corpus
from unlearn.errors import DivergedError, TensorNotFoundError
from unlearn.export import write_candidate
from unlearn.losses import forget_target, masked_mse, total_loss
from unlearn.offline import quiet_libraries
from unlearn.plan import Plan
from unlearn.provenance import finish_lineage
from unlearn.steering import contrastive_vectors, random_vector


class StepLog(NamedTuple):
    """What one step did."""

    step: int
    """From 1."""
    loss: float
    forget: float
    retain: float


def run(plan: Plan, store: CheckpointStore, on_step: Callable[[StepLog], None]) -> Manifest:
    """Unlearn a base checkpoint and store the candidate.

    Args:
        plan: The recipe, the base and the corpora.
        store: Where the base is and the candidate goes.
        on_step: Told of every step.

    Raises:
        CheckpointCorruptError: The base's bytes have changed.
        TensorNotFoundError: The recipe does not fit the base.
        DivergedError: The loss is not finite; nothing is stored.
        StrayUpdateError: A tensor changed that the recipe does not name; nothing is stored.
        StoreFullError: No room for the candidate.
    """
    base = plan.lineage.base
    manifest = store.verify(base)
    updated = fit(plan.config, store.path(base), plan.forget, plan.retain, on_step)
    with store.staging() as staged:
        changes = write_candidate(store.path(base), staged, updated, {}, {})
        return store.put(
            staged,
            family=manifest.family,
            hazards=manifest.hazards,
            lineage=finish_lineage(plan.lineage, staged, changes, updated, data_order=None),
            created_at=datetime.now(UTC),
        )


def fit(
    config: RunConfig,
    checkpoint: Path,
    forget: Corpus,
    retain: Corpus,
    on_step: Callable[[StepLog], None],
) -> dict[str, Tensor]:
    """Run the loop and return the trained tensors by name, in fp32.

    The loop runs in fp32: in bf16 a step is smaller than the rounding of most weights, and is lost.

    Raises:
        TensorNotFoundError: The recipe does not fit the checkpoint.
        DivergedError: The loss is not finite.
    """
    quiet_libraries()
    torch.manual_seed(config.seed)  # Nothing draws from it; should something ever, it repeats.
    generator = torch.Generator().manual_seed(config.seed)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    parameters = dict(model.named_parameters())
    for name in config.tensor_names:
        if name not in parameters:
            raise TensorNotFoundError(name, parameters)
    trained = {name: parameters[name] for name in config.tensor_names}
    split = SplitModel(model, model.model.layers, min(config.trained_layers), config.layer)
    for tensor in trained.values():
        tensor.requires_grad_(True)

    def last_token_state(text: str) -> Tensor:
        batch = make_batch([tokenizer.encode(text)])
        return split.frozen_state(split.prefix(batch.tokens))[0, -1]  # (D,)

    if config.vector == "contrastive":
        vectors = contrastive_vectors(config.phrases, last_token_state)  # (P, D)
    else:
        vectors = random_vector(model.config.hidden_size, generator)  # (1, D)

    optimizer = torch.optim.AdamW(trained.values(), lr=config.learning_rate, weight_decay=0.0)
    shape = {"batch_size": config.batch_size, "max_tokens": config.max_tokens}
    forget_batches = endless_batches(forget, tokenizer, **shape, generator=generator)
    retain_batches = endless_batches(retain, tokenizer, **shape, generator=generator)
    for step in range(1, config.steps + 1):
        # A phrase is drawn at each step, as in wmdp fed4156, cut/unlearn.py.
        drawn = int(torch.randint(len(vectors), (1,), generator=generator))
        gone, kept = next(forget_batches), next(retain_batches)
        gone_prefix, kept_prefix = split.prefix(gone.tokens), split.prefix(kept.tokens)
        frozen = split.frozen_state(gone_prefix) if config.target == "shifted" else None
        target = forget_target(frozen, vectors[drawn], config.coefficient)
        forget_loss = masked_mse(split.updated_state(gone_prefix), target, gone.mask)
        retain_loss = masked_mse(
            split.updated_state(kept_prefix), split.frozen_state(kept_prefix), kept.mask
        )
        loss = total_loss(forget_loss, retain_loss, config.alpha)
        if not math.isfinite(loss.item()):
            raise DivergedError(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        on_step(StepLog(step, loss.item(), forget_loss.item(), retain_loss.item()))
    return {name: tensor.detach() for name, tensor in trained.items()}
