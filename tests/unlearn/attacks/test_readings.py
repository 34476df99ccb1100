"""What is read of a model is what its layers put out, in passes of few tokens."""

import weakref
from copy import deepcopy

import pytest
import torch
from transformers import AutoModelForCausalLM, CohereConfig, GraniteConfig

from tests.unlearn.architectures import CONFIGS, GROUPED
from unlearn.attacks import readings
from unlearn.attacks.readings import last_states, likelihoods, mean_states, pass_through
from unlearn.attacks.subject import layers_of
from unlearn.errors import SuiteError
from unlearn.evaluation.answers import Continuation

SCALED = {
    "cohere": CohereConfig(**GROUPED, logit_scale=0.0625),
    "granite": GraniteConfig(**GROUPED, logits_scaling=8.0, embedding_multiplier=12.0),
    "hard-capped": CONFIGS["gemma2"].__class__(
        **{**CONFIGS["gemma2"].to_dict(), "final_logit_softcapping": 2.0}
    ),
}
SEQUENCES = [(3, 4, 5, 6, 7, 8), (9, 10), (11, 12, 13), (14, 15, 16, 17)]


@pytest.fixture
def model_of():
    """Return what makes a random model of some configuration."""

    def make(config):
        with torch.random.fork_rng():
            torch.manual_seed(11)
            # Others write models of the same configurations in bfloat16, which stays in them.
            model = AutoModelForCausalLM.from_config(deepcopy(config), dtype=torch.float32).eval()
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        return model

    return make


@torch.no_grad()
def outputs_of(model, sequence):
    """Return what each layer puts out for a sequence by itself, but the last: (L - 1, T, D)."""
    # Behind the last layer there is a norm.
    found = model.base_model(torch.tensor([sequence]), output_hidden_states=True).hidden_states
    return torch.stack(found[1:-1]).squeeze(1)


def test_last_states_are_those_of_each_sequence_by_itself(model_of):
    model = model_of(CONFIGS["llama"])
    read = last_states(model, SEQUENCES)
    for place, sequence in enumerate(SEQUENCES):
        assert torch.allclose(read[:-1, place], outputs_of(model, sequence)[:, -1], atol=1e-5)


def test_a_mean_is_of_all_tokens_but_the_first_of_each_text(model_of):
    model = model_of(CONFIGS["llama"])
    rest = torch.cat([outputs_of(model, sequence)[:, 1:] for sequence in SEQUENCES], 1)
    assert torch.allclose(mean_states(model, SEQUENCES)[:-1], rest.mean(1), atol=1e-5)


def test_passes_have_few_tokens_and_no_layer_is_kept(model_of, monkeypatch):
    monkeypatch.setattr(readings, "TOKENS_TOGETHER", 9)
    model, alive, given, kept = model_of(CONFIGS["llama"]), [], [], []

    def take(layer, places, states):
        alive.append(weakref.ref(states))
        given.append((layer, tuple(places)))
        kept.append(sum(one() is not None for one in alive))
        assert states.shape[:2].numel() <= 9

    calls = []
    model.base_model.register_forward_pre_hook(
        lambda _model, _tokens, words: calls.append(words), with_kwargs=True
    )
    pass_through(model, SEQUENCES, take)
    together = ((0,), (3, 2), (1,))
    assert given == [(layer, places) for places in together for layer in range(4)]
    assert calls == [{"use_cache": False}] * 3
    # A layer reads the one before it.
    assert max(kept) <= 2
    assert not any(layer._forward_hooks for layer in layers_of(model))


def test_a_sequence_beyond_the_budget_is_passed_alone(model_of, monkeypatch):
    monkeypatch.setattr(readings, "TOKENS_TOGETHER", 4)
    model = model_of(CONFIGS["llama"])
    alone = mean_states(model, SEQUENCES)
    monkeypatch.undo()
    assert torch.allclose(mean_states(model, SEQUENCES), alone, atol=1e-5)


@torch.no_grad()
def said_of(model, one: Continuation) -> float:
    """Return how likely a continuation is to the model itself."""
    said = model(torch.tensor([[*one.context, *one.tokens]])).logits[0].log_softmax(-1)
    places = range(len(one.context) - 1, len(one.context) + len(one.tokens) - 1)
    return sum(float(said[place, token]) for place, token in zip(places, one.tokens, strict=True))


@pytest.mark.parametrize("config", [*CONFIGS.values(), *SCALED.values()], ids=[*CONFIGS, *SCALED])
def test_the_last_layers_reading_is_the_models_own_answer(model_of, config):
    model = model_of(config)
    asked = [Continuation(sequence[:2], sequence[2:] or (5,)) for sequence in SEQUENCES]
    read = likelihoods(model, asked)
    assert len(read) == 4
    assert read[-1].tolist() == pytest.approx([said_of(model, one) for one in asked], abs=1e-3)


def test_continuations_that_read_the_same_tokens_are_scored_each_from_its_own_start(model_of):
    model = model_of(CONFIGS["llama"])
    asked = [
        *(Continuation((3, 4, 5), (6, token)) for token in (7, 8)),
        Continuation((3, 4, 5, 6), (9,)),
        Continuation((3,), (4, 5, 6, 9)),
    ]
    read = likelihoods(model, asked)[-1].tolist()
    assert read == pytest.approx([said_of(model, one) for one in asked], abs=1e-4)


def test_a_head_that_does_something_else_is_not_read(model_of):
    model = model_of(CONFIGS["llama"])

    def sharpen(_model, _given, said):
        said.logits *= 4
        return said

    model.register_forward_hook(sharpen)
    with pytest.raises(SuiteError, match="a head of its own"):
        likelihoods(model, [Continuation((3, 4), (5,))])
