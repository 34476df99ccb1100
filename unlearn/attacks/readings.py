"""Readings: what a model holds inside at each layer for what the harness asks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from unlearn.attacks.subject import layers_of, output_of
from unlearn.errors import UnsupportedModelError
from unlearn.evaluation.answers import Continuation

BATCH_SIZE = 32
FINAL_NORMS = ("norm", "final_layer_norm", "final_layernorm")


class Pass(NamedTuple):
    """Some sequences, passed through a model."""

    places: list[int]
    """Which of the sequences."""
    states: list[Tensor]
    """Of each layer its output, (B, T, D), padded on the right."""


def last_states(model: PreTrainedModel, sequences: Sequence[tuple[int, ...]]) -> Tensor:
    """Return the output of each layer at the last token of each sequence: (L, N, D), fp32."""
    count, width = len(layers_of(model)), int(model.config.hidden_size)
    found = torch.empty(count, len(sequences), width)
    for one in passes(model, sequences):
        ends = torch.tensor([len(sequences[place]) - 1 for place in one.places])
        for layer, states in enumerate(one.states):
            last = states[torch.arange(len(ends)), ends.to(states.device)]  # (B, D)
            found[layer, one.places] = last.float().cpu()
    return found


def mean_states(model: PreTrainedModel, sequences: Sequence[tuple[int, ...]]) -> Tensor:
    """Return each layer's mean output over all tokens but the first of each text: (L, D), fp32.

    The first token takes the attention that no other one wants; its norm would outweigh the rest.
    """
    total = torch.zeros(len(layers_of(model)), int(model.config.hidden_size))
    tokens = 0
    for one in passes(model, sequences):
        for row, place in enumerate(one.places):
            tokens += len(sequences[place]) - 1
            for layer, states in enumerate(one.states):
                total[layer] += states[row, 1 : len(sequences[place])].float().sum(0).cpu()
    return total / max(tokens, 1)


@torch.no_grad()
def likelihoods(model: PreTrainedModel, asked: Sequence[Continuation]) -> Tensor:
    """Return log-likelihoods as each layer would say them: (L, N), nats.

    A layer's output goes straight through the model's last norm and its head.
    """
    # What differs in the last token only is read in one pass, as letters are.
    sequences = list(dict.fromkeys(_read_by(one) for one in asked))
    members: dict[tuple[int, ...], list[int]] = {sequence: [] for sequence in sequences}
    for number, wanted in enumerate(asked):
        members[_read_by(wanted)].append(number)
    found = torch.zeros(len(layers_of(model)), len(asked))
    for one in passes(model, sequences):
        for row, place in enumerate(one.places):
            first = asked[members[sequences[place]][0]]
            start, stop = len(first.context) - 1, len(sequences[place])
            inside = torch.stack([states[row, start:stop] for states in one.states])  # (L, T, D)
            said = _head(model, inside)  # (L, T, V)
            for number in members[sequences[place]]:
                tokens = torch.tensor(asked[number].tokens, device=said.device)
                picked = said.gather(-1, tokens.expand(len(said), -1).unsqueeze(-1))
                found[:, number] = picked.sum((-2, -1)).cpu()
    return found


@torch.no_grad()
def passes(model: PreTrainedModel, sequences: Sequence[tuple[int, ...]]) -> Iterator[Pass]:
    """Pass sequences through a model, longest first, and give what each layer puts out."""
    kept: list[Tensor] = []

    def keep(_layer: nn.Module, _given: object, result: Tensor | tuple[Tensor, ...]) -> None:
        kept.append(output_of(result))

    hooks = [layer.register_forward_hook(keep) for layer in layers_of(model)]
    order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place]))
    try:
        for start in range(0, len(order), BATCH_SIZE):
            places = order[start : start + BATCH_SIZE]
            kept.clear()
            # Only the decoder: the head's output for every token would take gigabytes.
            model.base_model(padded([sequences[place] for place in places]).to(model.device))
            yield Pass(places, list(kept))
    finally:
        for hook in hooks:
            hook.remove()


def padded(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Return sequences as one tensor (B, T), padded on the right, where no token looks."""
    width = max(map(len, sequences))
    return torch.tensor([[*sequence, *[0] * (width - len(sequence))] for sequence in sequences])


def _read_by(one: Continuation) -> tuple[int, ...]:
    return (*one.context, *one.tokens[:-1])


def _head(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Return log-probabilities (…, V) of hidden states (…, D), as after the last layer."""
    norms = [getattr(model.base_model, name, None) for name in FINAL_NORMS]
    norm = next((one for one in norms if one is not None), None)
    if norm is None:
        raise UnsupportedModelError(type(model).__name__)
    logits = model.get_output_embeddings()(norm(states)).float()
    cap = getattr(model.config, "final_logit_softcapping", None)
    capped: Tensor = logits if cap is None else cap * (logits / cap).tanh()
    return capped.log_softmax(-1)
