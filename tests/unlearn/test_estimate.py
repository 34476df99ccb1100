"""Estimates: counts against the literature's arithmetic, and memory against a measured peak."""

import ctypes
import json
import multiprocessing
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from torch.func import functional_call
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from unlearn.config import load_recipe
from unlearn.errors import TensorNotFoundError, UnsupportedModelError
from unlearn.estimate import count_memory, count_units, estimate
from unlearn.shards import StoredTensor
from unlearn.workload import Shape, Workload, read_shape, workload

DOWN = "mlp.down_proj.weight"
ZEPHYR = Workload(
    layer=7,
    trained_layers=(5, 6, 7),
    trained_tensors=(DOWN,),
    rank=0,
    steps=150,
    batch_size=4,
    max_tokens=512,
    compute_dtype="bfloat16",
    reads_frozen_forget=False,
)


def mistral() -> dict[str, StoredTensor]:
    """The tensors of a 32-layer Mistral 7B, by their names on disk."""
    shapes = {
        "self_attn.q_proj": (4096, 4096),
        "self_attn.k_proj": (1024, 4096),
        "self_attn.v_proj": (1024, 4096),
        "self_attn.o_proj": (4096, 4096),
        "mlp.gate_proj": (14336, 4096),
        "mlp.up_proj": (14336, 4096),
        "mlp.down_proj": (4096, 14336),
        "input_layernorm": (4096,),
    }
    names = {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in range(32)
        for name, shape in shapes.items()
    }
    names |= {"model.embed_tokens.weight": (32000, 4096), "lm_head.weight": (32000, 4096)}
    return {
        name: StoredTensor(Path("w"), "BF16", shape, 0, 2 * torch.Size(shape).numel())
        for name, shape in names.items()
    }


def trained() -> dict[str, StoredTensor]:
    return {
        f"model.layers.{layer}.{DOWN}": mistral()[f"model.layers.5.{DOWN}"] for layer in (5, 6, 7)
    }


def test_the_passes_of_the_published_preset():
    """A step of 10 + 3 + 6 passes forward and 5.6 back, for RMU on a 7B model at l = 7."""
    units = count_units(ZEPHYR, trained(), mistral(), Shape(4096, 14336, 1.0))
    assert (units.prefix, units.frozen, units.updated) == (10, 3, 6)
    assert units.backward == pytest.approx(5.6, abs=0.05)
    assert units.cold == pytest.approx(24.6, abs=0.05)
    assert units.cached == pytest.approx(11.6, abs=0.05)
    cut = ZEPHYR._replace(reads_frozen_forget=True)
    assert count_units(cut, trained(), mistral(), Shape(4096, 14336, 1.0)).frozen == 6


@pytest.mark.parametrize(
    ("method", "reads"),
    # Adaptive RMU measures the norm of the frozen activations once, before the first step.
    [("cut", True), ("rmu", False), ("adaptive-rmu", False)],
)
def test_frozen_forget_activations_are_counted_where_each_step_reads_them(method, reads):
    assert workload(load_recipe(f"smollm2-{method}")).reads_frozen_forget is reads


def test_masters_and_optimiser_of_the_published_preset():
    values = sum(stored.size for stored in trained().values())
    work = ZEPHYR
    memory = count_memory(work, trained(), Shape(4096, 14336, 1.0), values, converted_bytes=0)
    assert memory.masters + memory.gradients + memory.optimizer == pytest.approx(2.8e9, rel=0.02)
    low = count_memory(
        work._replace(rank=16), trained(), Shape(4096, 14336, 1.0), 16 * 18432 * 3, 0
    )
    assert low.optimizer < memory.optimizer / 50


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A random Llama whose step needs some 150 MB: more than an allocator's whims."""
    directory = tmp_path_factory.mktemp("wide")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)
    return directory


WORK = ZEPHYR._replace(
    layer=2,
    trained_layers=(1, 2),
    steps=2,
    batch_size=2,
    max_tokens=128,
    compute_dtype="float32",
)


def test_what_is_loaded_and_what_is_not(checkpoint):
    found = estimate(WORK._replace(compute_dtype="bfloat16"), checkpoint)
    layer = 2 * (512 * (512 * 2 + 256 * 2) + 3 * 512 * 2048 + 2 * 512)
    assert found.loaded.mapped_bytes == 2 * 8192 * 512 + 3 * layer
    assert found.loaded.converted_bytes == 0
    assert found.loaded.left_bytes == 2 * 8192 * 512 + layer + 2 * 512
    assert estimate(WORK, checkpoint).loaded.converted_bytes == 2 * found.loaded.mapped_bytes
    assert list(found.trained) == [f"model.layers.{layer}.{DOWN}" for layer in (1, 2)]
    assert found.disk.candidate == (checkpoint / "model.safetensors").stat().st_size


def test_a_tensor_that_is_not_there_is_named(checkpoint):
    with pytest.raises(TensorNotFoundError, match="down_proj"):
        estimate(WORK._replace(trained_tensors=("mlp.down.weight",)), checkpoint)


def test_a_layer_that_is_not_there_is_named(checkpoint):
    with pytest.raises(TensorNotFoundError, match=r"layers\.4.*layers\.0, layers\.1"):
        estimate(WORK._replace(layer=4), checkpoint)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_experts": None}, Shape(8, 32, 1)),
        ({"num_local_experts": 0}, Shape(8, 32, 1)),
        ({"text_config": None}, Shape(8, 32, 1)),
        ({"intermediate_size": None, "num_experts_per_tok": None}, Shape(8, 32, 1)),
        ({"num_experts": 4, "num_experts_per_tok": 2}, Shape(8, 64, 0.5)),
        ({"text_config": {"hidden_size": 4}}, Shape(4, 16, 1)),
    ],
)
def test_what_a_configuration_leaves_out_the_model_has_not(tmp_path, config, expected):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, **config}))
    assert read_shape(tmp_path) == expected


def test_a_configuration_without_a_width_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_embd": 8}')
    with pytest.raises(UnsupportedModelError, match="gpt2 cannot be unlearned: no hidden_size"):
        read_shape(tmp_path)


WORKS = {
    "fp32": WORK,
    "low rank": WORK._replace(rank=16),
    # Of its own, bfloat16's kernels keep some 20 MB.
    "bf16": WORK._replace(compute_dtype="bfloat16", batch_size=4, max_tokens=256),
}


@pytest.fixture(scope="module")
def fresh() -> multiprocessing.context.ForkServerContext:
    """Starts processes that have imported torch and nothing else has freed memory in."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "accelerate", "transformers"])
    return context


def warm_up() -> None:
    """Import what an optimiser's first step imports; it is no memory of the run's."""
    for dtype in (torch.float32, torch.bfloat16):
        warm = torch.ones(256, 256, dtype=dtype, requires_grad=True)
        (warm @ warm).sum().backward()
        torch.optim.AdamW([warm]).step()


@pytest.mark.parametrize("kind", list(WORKS))
def test_memory_is_what_a_run_takes(checkpoint, kind, fresh):
    """The peak of two steps, in a process of its own that starts with everything imported."""
    ours, theirs = multiprocessing.Pipe()
    child = fresh.Process(target=measure_peak, args=(checkpoint, WORKS[kind], theirs))
    child.start()
    assert ours.poll(timeout=60), "it measures nothing"
    measured, expected = ours.recv(), estimate(WORKS[kind], checkpoint).memory
    child.join()
    assert expected.total / 1.5 < measured < expected.total * 1.5, (measured, expected)


def anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def measure_peak(checkpoint: Path, work: Workload, answer: Connection) -> None:
    torch.set_num_threads(1)
    warm_up()
    # What has been freed would be used again, and hide what the steps need.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    start = peak = anonymous_bytes()

    def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, anonymous_bytes())
            time.sleep(0.004)

    threading.Thread(target=watch, daemon=True).start()
    take_steps(checkpoint, work)
    answer.send(peak - start)


def open_mapped(checkpoint: Path, layers: int, dtype: torch.dtype) -> LlamaModel:
    config = LlamaConfig.from_pretrained(checkpoint)
    config.num_hidden_layers = layers
    with init_empty_weights(include_buffers=False):
        model = LlamaModel(config)
    with safe_open(checkpoint / "model.safetensors", framework="pt") as opened:
        weights = {
            name: opened.get_tensor(f"model.{name}").to(dtype) for name in model.state_dict()
        }
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(False)


def take_steps(checkpoint: Path, work: Workload) -> None:
    """The engine's passes, spelt out.

    The layers up to l of a mapped checkpoint, one copy of the weights, the trained tensors put into
    the updated passes, forget and retain in one graph.
    """
    dtype = getattr(torch, work.compute_dtype)
    model = open_mapped(checkpoint, work.layer + 1, dtype)
    masters = {}
    for name in [f"layers.{layer}.{DOWN}" for layer in work.trained_layers]:
        whole, rank = model.get_parameter(name).float().clone(), work.rank
        factors = (torch.zeros(len(whole), rank), torch.ones(rank, whole.shape[1]))
        masters[name] = factors if rank else (whole,)
    flat = [master.requires_grad_() for several in masters.values() for master in several]
    optimizer = torch.optim.AdamW(flat)

    def updated_tensor(name: str) -> torch.Tensor:
        if not work.rank:
            return masters[name][0].to(dtype)
        return torch.addmm(model.get_parameter(name).float(), *masters[name]).to(dtype)

    def state(tokens: torch.Tensor, overlay: dict[str, torch.Tensor]) -> torch.Tensor:
        words = {"use_cache": False}
        return functional_call(model, overlay, (tokens,), words).last_hidden_state.float()

    for _ in range(work.steps):
        overlay = {name: updated_tensor(name) for name in masters}
        losses = []
        for _ in ("forget", "retain"):
            tokens = torch.randint(0, 8192, (work.batch_size, work.max_tokens))
            with torch.no_grad():
                frozen = state(tokens, {})
            losses.append((state(tokens, overlay) - frozen).square().mean())
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
