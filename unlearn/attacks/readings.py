"""Readings: what a model holds inside at each layer for what the harness asks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from unlearn.attacks.subject import layers_of, output_of
from unlearn.errors import SuiteError, UnsupportedModelError
from unlearn.evaluation.answers import Continuation

TOKENS_TOGETHER = 16384
"""Read in one pass, padding included: 32 of a few words, or 5 of 3,000 tokens."""
HEAD_TOLERANCE = 0.1
"""Nats by which a reading of the last layer and the model's own answer may differ."""
FINAL_NORMS = ("norm", "final_layer_norm", "final_layernorm")

Take = Callable[[int, list[int], Tensor], None]
"""Given a layer, which sequences are passed, and its output (B, T, D), padded on the right."""


def last_states(model: PreTrainedModel, sequences: Sequence[tuple[int, ...]]) -> Tensor:
    """Return the output of each layer at the last token of each sequence: (L, N, D), fp32."""
    count, width = len(layers_of(model)), int(model.config.hidden_size)
    found = torch.empty(count, len(sequences), width)

    def take(layer: int, places: list[int], states: Tensor) -> None:
        ends = torch.tensor([len(sequences[place]) - 1 for place in places])
        last = states[torch.arange(len(ends)), ends.to(states.device)]  # (B, D)
        found[layer, places] = last.float().cpu()

    pass_through(model, sequences, take)
    return found


def mean_states(model: PreTrainedModel, sequences: Sequence[tuple[int, ...]]) -> Tensor:
    """Return each layer's mean output over all tokens but the first of each text: (L, D), fp32.

    The first token takes the attention that no other one wants; its norm would outweigh the rest.
    """
    total = torch.zeros(len(layers_of(model)), int(model.config.hidden_size))

    def take(layer: int, places: list[int], states: Tensor) -> None:
        for row, place in enumerate(places):
            total[layer] += states[row, 1 : len(sequences[place])].float().sum(0).cpu()

    pass_through(model, sequences, take)
    return total / max(sum(len(sequence) - 1 for sequence in sequences), 1)


@torch.no_grad()
def likelihoods(model: PreTrainedModel, asked: Sequence[Continuation]) -> Tensor:
    """Return log-likelihoods as each layer would say them: (L, N), nats.

    A layer's output goes straight through the model's last norm and its head.

    Raises:
        SuiteError: The last layer's are not what the model says.
    """
    # What differs in the last token only is read in one pass, as letters are.
    members: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for number, one in enumerate(asked):
        key = (len(one.context), (*one.context, *one.tokens[:-1]))
        members.setdefault(key, []).append(number)
    groups = list(members)
    sequences = [sequence for _, sequence in groups]
    _check_head(model, min(sequences, key=len))
    found = torch.zeros(len(layers_of(model)), len(asked))

    def take(layer: int, places: list[int], states: Tensor) -> None:
        for row, place in enumerate(places):
            start, stop = groups[place][0] - 1, len(sequences[place])
            said = _head(model, states[row, start:stop])  # (T, V)
            for number in members[groups[place]]:
                tokens = torch.tensor(asked[number].tokens, device=said.device)
                found[layer, number] = said.gather(-1, tokens.unsqueeze(-1)).sum().cpu()

    pass_through(model, sequences, take)
    return found


@torch.no_grad()
def pass_through(model: PreTrainedModel, sequences: Sequence[tuple[int, ...]], take: Take) -> None:
    """Pass sequences through a model, longest first, and give what each layer puts out.

    It is given layer by layer and not kept: of a large model, all layers of a few long texts are
    tens of gigabytes.
    """
    places: list[int] = []

    def hook_of(layer: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
        return lambda _layer, _given, result: take(layer, places, output_of(result))

    hooks = [
        layer.register_forward_hook(hook_of(number))
        for number, layer in enumerate(layers_of(model))
    ]
    order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place]))
    try:
        while order:
            together = max(1, TOKENS_TOGETHER // len(sequences[order[0]]))
            places, order = order[:together], order[together:]
            # Only the decoder: the head's output for every token would take gigabytes.
            tokens = padded([sequences[place] for place in places]).to(model.device)
            model.base_model(tokens, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()


def padded(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Return sequences as one tensor (B, T), padded on the right, where no token looks."""
    width = max(map(len, sequences))
    return torch.tensor([[*sequence, *[0] * (width - len(sequence))] for sequence in sequences])


def _check_head(model: PreTrainedModel, sequence: tuple[int, ...]) -> None:
    read: list[Tensor] = []
    pass_through(model, [sequence], lambda _layer, _places, states: read.append(states[0, -1]))
    tokens = torch.tensor([sequence], device=model.device)
    own = model(input_ids=tokens).logits[0, -1].float().log_softmax(-1)
    # Rounding makes less of a difference, and a scale that is left out makes more.
    if (_head(model, read[-1]) - own).abs().mean() > HEAD_TOLERANCE:
        raise SuiteError("depth", f"{type(model).__name__} has a head of its own")


def _head(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Return log-probabilities (…, V) of hidden states (…, D), as after the last layer."""
    norms = [getattr(model.base_model, name, None) for name in FINAL_NORMS]
    norm = next((one for one in norms if one is not None), None)
    if norm is None:
        raise UnsupportedModelError(type(model).__name__)
    config = model.config
    # Granite divides what its head says, and Cohere multiplies it.
    scale = getattr(config, "logit_scale", None) or 1 / getattr(config, "logits_scaling", 1.0)
    logits = (model.get_output_embeddings()(norm(states)) * scale).float()
    cap = getattr(config, "final_logit_softcapping", None)
    capped: Tensor = logits if cap is None else cap * (logits / cap).tanh()
    return capped.log_softmax(-1)
