"""`airlock unlearn run RECIPE --dry-run`: what a run will load, change, need and take."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.cli.terminal import printable
from models.documents import Digest
from models.store import CheckpointStore
from unlearn.baselines.recipe import BaselineConfig
from unlearn.config import RunConfig
from unlearn.corpora import count_texts
from unlearn.estimate import Counted, Estimate, estimate
from unlearn.speed import measure_flops
from unlearn.workload import Workload, read_shape, workload

UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def show_plan(
    console: Console,
    config: RunConfig | BaselineConfig,
    store: CheckpointStore,
    base: Digest | None,
    cache: Path,
) -> None:
    """Print what a run will do; of the base, headers and `config.json` alone are read.

    Corpora that are here are counted, and none is fetched.

    Args:
        console: Where to.
        config: The recipe.
        store: Where the base is.
        base: None when the store has no base of the recipe's family: then only what the recipe
            itself says is shown.
        cache: Where data sets of the hub are kept.

    Raises:
        CorpusError: A corpus is not there, or is of another shape.
        TensorNotFoundError: The recipe does not fit the base.
        UnsupportedModelError: The base does not say how wide it is.
        CheckpointCorruptError: The base's headers cannot be read.
    """
    console.print_json(data=config.as_json())
    if not isinstance(config, RunConfig):
        console.print(f"{config.method} trains every tensor of the whole model, held in fp32.")
        return
    work = workload(config)
    if base is None:
        layers = ", ".join(map(str, work.trained_layers))
        console.print(f"trains {printable(', '.join(work.trained_tensors))} of layers {layers}")
        console.print(
            f"The store has no base of family {printable(config.family)}, so shapes, memory, "
            "time and disk are not known; name one with --base."
        )
        return
    checkpoint = store.path(base)
    known, unknown = _corpora(config, cache)
    found = estimate(work, checkpoint, known)
    console.print(_tensors(found, base))
    console.print(_needs(work, found, checkpoint))
    for spec in unknown:
        console.print(
            f"{printable(spec)} is not in the cache yet, so its tokens are not counted; `airlock "
            f"unlearn corpus show {printable(spec)}` fetches it."
        )


def _corpora(config: RunConfig, cache: Path) -> tuple[list[Counted], list[str]]:
    """Return the corpora that can be counted, and the specs of the others."""
    known, unknown = [], []
    for topic in config.topics:
        for spec in (topic.forget, topic.retain):
            texts = count_texts(spec, cache=cache, min_characters=topic.min_characters)
            if texts is None:
                unknown.append(spec)
            else:
                known.append(Counted(texts, topic.max_tokens))
    return known, list(dict.fromkeys(unknown))


def _tensors(found: Estimate, base: Digest) -> Table:
    table = Table("trained tensor", "shape", "type", title=f"base {base[7:19]}")
    for name, stored in found.trained.items():
        table.add_row(printable(name), " x ".join(map(str, stored.shape)), stored.dtype)
    return table


def _needs(work: Workload, found: Estimate, checkpoint: Path) -> Table:
    shape = read_shape(checkpoint)
    flops = measure_flops(work.compute_dtype, shape.hidden, shape.inner, work.tokens)
    step = found.units.cold * found.unit_flops / flops
    cached = found.units.cached * found.unit_flops / flops
    memory, disk, loaded = found.memory, found.disk, found.loaded
    table = Table("what", "how much", "of which", title="at most, with every text at full length")
    table.add_row(
        "trained numbers",
        f"{found.trained_values / 1e6:.2f} M",
        f"rank {work.rank}" if work.rank else "whole tensors",
    )
    table.add_row(
        "weights loaded",
        size(loaded.mapped_bytes + loaded.converted_bytes),
        f"embeddings, layers 0 to {work.layer}; mapped {size(loaded.mapped_bytes)}, "
        f"converted to {work.compute_dtype} {size(loaded.converted_bytes)}",
    )
    table.add_row("weights not loaded", size(loaded.left_bytes), "layers above, norm, output head")
    table.add_row(
        "memory beyond the libraries",
        size(memory.total),
        ", ".join(f"{name} {size(amount)}" for name, amount in memory._asdict().items() if amount),
    )
    table.add_row(
        "disk",
        size(disk.candidate + disk.state + disk.cache),
        ", ".join(f"{name} {size(amount)}" for name, amount in disk._asdict().items()),
    )
    table.add_row(
        "layer passes in a step",
        f"{found.units.cold:.1f}",
        ", ".join(f"{name} {amount:.1f}" for name, amount in found.units._asdict().items())
        + f"; {found.units.cached:.1f} with a warm cache",
    )
    table.add_row(
        "time",
        duration(step * work.steps),
        f"{work.steps} steps of {step:.2f} s, or {cached:.2f} s with a warm cache, "
        f"at {flops / 1e9:.0f} GFLOP/s as just measured",
    )
    return table


def size(count: int) -> str:
    """Return a number of bytes for reading."""
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} B"


def duration(seconds: float) -> str:
    """Return a time for reading."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
