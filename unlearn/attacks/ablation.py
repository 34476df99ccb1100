"""Direction ablation: unlearning's direction is taken out of the activations.

At each layer from the first that unlearning changed, the direction is the mean difference between
the candidate's and the base's activations on hazard text; a hook puts the activations' component
along it back to the base's mean. Source: arXiv 2409.18025, orthogonalization, after arXiv
2406.11717; there the direction is refined by hand-picked prompts and taken out of the weights.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.attacks import Setting
from unlearn.attacks.domain import Domain
from unlearn.attacks.readings import mean_states
from unlearn.attacks.subject import Outcome, Subject, layers_of, output_of
from unlearn.evaluation.inprocess import load

Directions = dict[int, tuple[Tensor, float]]
"""By layer: the direction (D,), of unit length, and the base's mean component along it."""

Hook = Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], Tensor | tuple[Tensor, ...]]


def ablate(subject: Subject, domain: Domain, setting: Setting) -> Outcome:
    """Take the direction out of every layer at once, and ask again."""
    count, length = int(str(setting["texts"])), int(str(setting["max_tokens"]))
    tokens = subject.tokenizer(list(domain.forget.texts[:count]))["input_ids"]
    texts = [tuple(row[:length]) for row in tokens if len(row) > 1]
    base = mean_states(load(subject.base), texts)  # (L, D)
    apart = mean_states(load(subject.candidate), texts) - base
    directions = directions_of(apart, base, domain.layers.start)
    model = subject.load()
    with without(model, directions):
        after = subject.score(model, domain.task)
    norms: list[JsonValue] = [round(float(row.norm()), 4) for row in apart]
    return Outcome(
        before=subject.right(),
        after=after,
        n=len(domain.task.items),
        found={"first_layer": domain.layers.start, "norms": norms, "texts": domain.forget.digest},
    )


def directions_of(apart: Tensor, base: Tensor, first: int) -> Directions:
    """Return the directions of all layers from the first on at which the models differ.

    Args:
        apart: (L, D), mean difference of the candidate's activations from the base's.
        base: (L, D), the base's mean activations.
        first: The first layer that unlearning changed.
    """
    found: Directions = {}
    for layer in range(first, len(apart)):
        norm = apart[layer].norm()
        if norm > 0:
            unit = apart[layer] / norm
            found[layer] = (unit, float(base[layer] @ unit))
    return found


@contextmanager
def without(model: PreTrainedModel, directions: Directions) -> Iterator[None]:
    """Hold a model's activations at the base's mean along the directions, within the block."""

    def hook_of(unit: Tensor, level: float) -> Hook:
        def hold(
            _layer: nn.Module, _given: object, result: Tensor | tuple[Tensor, ...]
        ) -> Tensor | tuple[Tensor, ...]:
            states = output_of(result)
            along = unit.to(states.device)
            excess = states.float() @ along - level  # (B, T)
            # A text's first token is where attention rests: moving it breaks the model instead.
            excess[:, 0] = 0
            held = (states.float() - excess.unsqueeze(-1) * along).to(states.dtype)
            return (held, *result[1:]) if isinstance(result, tuple) else held

        return hold

    layers = layers_of(model)
    hooks = [
        layers[layer].register_forward_hook(hook_of(*directions[layer])) for layer in directions
    ]
    try:
        with torch.no_grad():
            yield
    finally:
        for hook in hooks:
            hook.remove()
