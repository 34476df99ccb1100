"""Checkpoints of every architecture, cut at a layer: the same states, the names on disk."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.unlearn.architectures import CONFIGS, DOWN, TRAINED, write_model
from unlearn.activations import Segment
from unlearn.errors import TensorNotFoundError
from unlearn.layers import open_layers
from unlearn.tensors import find_trained
from unlearn.updates import TrainedTensors

FIRST, LAST = 1, 2
TOKENS = torch.tensor([[3, 4, 5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16, 17, 18]])


def whole_model_state(path: Path) -> torch.Tensor:
    """The state behind layer `LAST`, from the whole model as transformers loads it."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        outputs = model(input_ids=TOKENS, output_hidden_states=True, use_cache=False)
    return outputs.hidden_states[LAST + 1]


@pytest.mark.parametrize("name", CONFIGS)
def test_frozen_and_updated_states_are_the_whole_models(name, tmp_path):
    write_model(name, tmp_path)
    opened = open_layers(tmp_path, LAST, torch.float32)
    segment = Segment(opened)
    entered = segment.enter(TOKENS)
    prefix = segment.frozen(entered, entered.hidden, 0, FIRST - 1)
    expected = whole_model_state(tmp_path)
    assert torch.allclose(segment.frozen(entered, prefix, FIRST, LAST), expected, atol=1e-6)

    names = find_trained(tmp_path, [FIRST, LAST], [TRAINED.get(name, DOWN)])
    trained = TrainedTensors(opened, names, 0, torch.Generator())
    with torch.no_grad():
        for master in trained.masters.values():
            master.add_(torch.randn(master.shape, generator=torch.Generator().manual_seed(1)))
    updated = segment.updated(entered, prefix, FIRST, LAST, trained.overlay())
    # What was put into the pass is what a checkpoint with the tensors' new values computes.
    weights = load_file(tmp_path / "model.safetensors")
    assert trained.updated().keys() <= weights.keys()
    save_file(
        weights | trained.updated(), tmp_path / "model.safetensors", metadata={"format": "pt"}
    )
    changed = whole_model_state(tmp_path)
    assert not torch.allclose(changed, expected, atol=1e-3)
    assert torch.allclose(updated, changed, atol=1e-6)
    assert torch.allclose(segment.frozen(entered, prefix, FIRST, LAST), expected, atol=1e-6)

    updated.square().sum().backward()
    assert all(m.grad is not None and m.grad.abs().sum() > 0 for m in trained.masters.values())
    assert not any(parameter.requires_grad for parameter in opened.decoder.parameters())


@pytest.mark.parametrize("name", ["llama", "gemma3", "mixtral"])
def test_bf16_weights_stay_mapped_and_compute_the_same(name, tmp_path):
    write_model(name, tmp_path, torch.bfloat16)
    opened = open_layers(tmp_path, LAST, torch.bfloat16)
    segment = Segment(opened)
    entered = segment.enter(TOKENS)
    state = segment.frozen(entered, entered.hidden, 0, LAST)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        whole = model(input_ids=TOKENS, output_hidden_states=True).hidden_states[LAST + 1]
    # Experts add up in another order than in transformers' grouped product.
    tolerance = 0.05 if name == "mixtral" else 0.0
    assert torch.allclose(state.float(), whole.float(), atol=tolerance, rtol=tolerance)
    assert {p.dtype for p in opened.decoder.parameters()} == {torch.bfloat16}
    mapped = open_ranges(tmp_path / "model.safetensors")
    for parameter in opened.decoder.parameters():
        assert any(start <= parameter.data_ptr() < end for start, end in mapped)


def open_ranges(path: Path) -> list[tuple[int, int]]:
    """The addresses at which this process has mapped a file."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    return [(int(start, 16), int(end, 16)) for start, end in spans]


def test_layers_above_l_are_not_opened(tmp_path):
    write_model("llama", tmp_path)
    opened = open_layers(tmp_path, 0, torch.float32)
    assert len(opened.layers) == 1
    assert not any("layers.1." in name for name, _ in opened.decoder.named_parameters())


def test_padding_on_the_right_is_not_seen(tmp_path):
    write_model("gemma2", tmp_path)
    segment = Segment(open_layers(tmp_path, LAST, torch.float32))
    padded, short = (
        segment.frozen(entered, entered.hidden, 0, LAST)
        for entered in (segment.enter(TOKENS), segment.enter(TOKENS[:, :3]))
    )
    assert torch.allclose(padded[:, :3], short, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "tensor", "shown"),
    [
        (1, "mlp.down.weight", r"no tensor model\.layers\.1\.mlp\.down.*1\.mlp\.down_proj\.weight"),
        (9, DOWN, "no tensor model.layers.9"),
    ],
)
def test_a_tensor_that_is_not_there_is_an_error_that_lists_its_layer(
    tmp_path, layer, tensor, shown
):
    write_model("llama", tmp_path)
    with pytest.raises(TensorNotFoundError, match=shown) as caught:
        find_trained(tmp_path, [layer], [tensor])
    assert "layers.2" not in str(caught.value) or layer == 9


def test_a_layer_that_is_not_there_is_an_error(tmp_path):
    write_model("llama", tmp_path)
    with pytest.raises(TensorNotFoundError, match=r"layers\.4"):
        open_layers(tmp_path, 4, torch.float32)


def test_a_checkpoint_without_a_layers_tensor_says_so(tmp_path):
    write_model("llama", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TensorNotFoundError, match=r"1\.mlp\.up_proj.*there are: .*down_proj"):
        open_layers(tmp_path, LAST, torch.float32)


def test_a_low_rank_update_starts_at_the_base_and_is_the_product_of_its_factors(tmp_path):
    write_model("llama", tmp_path)
    opened = open_layers(tmp_path, LAST, torch.float32)
    names = find_trained(tmp_path, [2, 1], [DOWN])
    trained = TrainedTensors(opened, names, 2, torch.Generator().manual_seed(0))
    weights = load_file(tmp_path / "model.safetensors")
    for name, tensor in trained.updated().items():
        assert torch.equal(tensor, weights[name])
    with torch.no_grad():
        for key, master in trained.masters.items():
            if key.endswith(".b"):
                master.fill_(0.5)
    for name, (a, b) in trained.factors().items():
        assert (a.shape[0], b.shape[1]) == (2, 2)
        assert torch.allclose(trained.updated()[name], weights[name] + b @ a, atol=1e-6)
        assert torch.linalg.matrix_rank(trained.updated()[name] - weights[name], atol=1e-4) <= 2
