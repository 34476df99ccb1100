"""`python -m tests.benchmarks.changes CANDIDATE …`: what unlearning changed, in figures and a plot.

For each candidate and its base, over the demo's texts to forget and to retain: how far each decoder
layer's output moved, and whether it moved in one direction; and how large and of what rank the
update of each trained tensor is. Prints tables and, as its last line, one JSON object.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.documents import Digest
from models.manifest import Manifest
from models.store import CheckpointStore
from tests.benchmarks.demo import demo_texts
from unlearn.offline import quiet_libraries

TEXTS = 48
MAX_TOKENS = 96
CORPORA = ("forget", "retain")


class Moved(NamedTuple):
    """How the outputs of one decoder layer differ from the base's, over all tokens of a corpus."""

    base_norm: float
    """Mean norm of the base's outputs."""
    norm: float
    """Mean norm of the candidate's."""
    relative: float
    """Mean norm of the difference, by that of the base's."""
    cosine: float
    """Mean cosine of base's and candidate's."""
    one_direction: float
    """Norm of the mean of the differences' unit vectors: 1 when all point the same way."""


class Update(NamedTuple):
    """How a trained tensor differs from the base's."""

    relative: float
    """Frobenius norm of the difference, by that of the base's tensor."""
    stable_rank: float
    """Squared Frobenius norm by squared spectral norm: 1 for an outer product."""
    rank_of_90_percent: int
    """Singular values that hold 90 % of the squared Frobenius norm."""


def outputs(checkpoint: Path, texts: Sequence[str]) -> list[Tensor]:
    """Return each decoder layer's output on every token but each text's first.

    The first token is left out: its activations are an attention sink's, a hundred times larger.

    Args:
        checkpoint: Its directory.
        texts: What is read.

    Returns:
        One tensor for each layer, (tokens, D).
    """
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    read: list[list[Tensor]] = []
    with torch.inference_mode():
        for text in texts:
            ids = torch.tensor([tokenizer.encode(text)[:MAX_TOKENS]])
            states = model.model(ids, output_hidden_states=True).hidden_states[1:]
            read.append([state[0, 1:] for state in states])  # (T - 1, D) each
    return [torch.cat(layer) for layer in zip(*read, strict=True)]


def moved(base: Tensor, candidate: Tensor) -> Moved:
    """Compare two layers' outputs, (tokens, D) each."""
    difference = candidate - base
    norms = base.norm(dim=1)
    # Where nothing has changed there is no direction either.
    units = torch.nn.functional.normalize(difference, dim=1)
    return Moved(
        base_norm=float(norms.mean()),
        norm=float(candidate.norm(dim=1).mean()),
        relative=float(difference.norm(dim=1).mean() / norms.mean()),
        cosine=float(torch.cosine_similarity(base, candidate).mean()),
        one_direction=float(units.mean(dim=0).norm()),
    )


def update(base: Tensor, candidate: Tensor) -> Update:
    """Compare two tensors, (out, in) each."""
    values = torch.linalg.svdvals(candidate - base)
    energy = values.square()
    held = energy.cumsum(0) / energy.sum()
    return Update(
        relative=float(energy.sum().sqrt() / base.norm()),
        stable_rank=float(energy.sum() / energy[0]),
        rank_of_90_percent=int((held < 0.9).sum()) + 1,
    )


def updates(base: Path, candidate: Path, names: Sequence[str]) -> dict[str, Update]:
    """Compare the tensors of these names in two checkpoints."""
    found = {}
    for name in names:
        pair = []
        for checkpoint in (base, candidate):
            for file in sorted(checkpoint.glob("*.safetensors")):
                with safe_open(file, "pt") as tensors:
                    if name in tensors.keys():  # noqa: SIM118 - it is no mapping
                        pair.append(tensors.get_tensor(name).float())
        found[name] = update(*pair)
    return found


def draw(layers: dict[str, dict[str, list[Moved]]], path: Path) -> None:
    """Write a plot: how far each layer's output moved, for each candidate and corpus."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = (("relative", "|difference| / |base|"), ("one_direction", "in one direction (1: all)"))
    for column, (name, title) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), column)
        for number, (candidate, corpora) in enumerate(layers.items()):
            for corpus, style in zip(CORPORA, ("-", "--"), strict=True):
                values = [getattr(layer, name) for layer in corpora[corpus]]
                label = f"{candidate}, {corpus}"
                axes.plot(values, style, color=f"C{number}", label=label)
        axes.set_title(title, fontsize="medium", loc="left")
        axes.set_xlabel("decoder layer")
        axes.grid(visible=True, alpha=0.3)
        if column == 1:
            axes.legend(fontsize="small")
    figure.savefig(path, format="png", dpi=110)


def show(name: str, corpora: dict[str, list[Moved]], found: dict[str, Update]) -> None:
    """Print one candidate's tables."""
    console = Console(width=120)
    table = Table(title=f"{name}: outputs of the decoder layers")
    for column in ("layer", "corpus", *Moved._fields):
        table.add_column(column, justify="right")
    for layer in range(len(corpora["forget"])):
        for corpus in CORPORA:
            row = corpora[corpus][layer]
            if row.relative > 0:
                table.add_row(str(layer), corpus, *(f"{value:.3g}" for value in row))
    console.print(table)
    table = Table(title=f"{name}: updates of the trained tensors")
    for column in ("tensor", *Update._fields):
        table.add_column(column, justify="right")
    for tensor, one in found.items():
        table.add_row(tensor, *(f"{value:.3g}" for value in one))
    console.print(table)


class Compared(NamedTuple):
    """A candidate beside its base."""

    layers: dict[str, list[Moved]]
    """By corpus."""
    updates: dict[str, Update]
    """By tensor."""


class Comparison:
    """Compares candidates with their bases, each of which is read once."""

    def __init__(self, store: CheckpointStore) -> None:
        """Read the corpora."""
        self._store = store
        self._texts = {}
        for corpus in CORPORA:
            texts = demo_texts(corpus)
            self._texts[corpus] = texts[:: len(texts) // TEXTS]
        self._outputs: dict[Digest, dict[str, list[Tensor]]] = {}

    def of(self, manifest: Manifest) -> Compared:
        """Compare one candidate."""
        lineage = manifest.lineage
        assert lineage is not None
        base, candidate = self._store.path(lineage.base), self._store.path(manifest.digest)
        before, after = self._read(lineage.base), self._read(manifest.digest)
        del self._outputs[manifest.digest]
        return Compared(
            {
                corpus: [moved(*pair) for pair in zip(before[corpus], after[corpus], strict=True)]
                for corpus in CORPORA
            },
            updates(base, candidate, lineage.trained_tensors),
        )

    def _read(self, digest: Digest) -> dict[str, list[Tensor]]:
        if digest not in self._outputs:
            path = self._store.path(digest)
            self._outputs[digest] = {
                corpus: outputs(path, texts) for corpus, texts in self._texts.items()
            }
        return self._outputs[digest]


def main() -> None:
    """Compare candidates with their bases."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.changes", description=__doc__)
    parser.add_argument("candidates", nargs="+", metavar="CANDIDATE", help="digest or prefix")
    parser.add_argument("--home", type=Path, default=Path(".airlock"), help="of the store")
    parser.add_argument("--out", type=Path, metavar="PNG", help="where the plot goes")
    args = parser.parse_args()
    quiet_libraries()
    store = CheckpointStore(args.home / "store")
    comparison, found = Comparison(store), {}
    for manifest in [store.get(store.resolve(word)) for word in args.candidates]:
        if manifest.lineage is None:
            parser.error(f"{manifest.digest} is a base")
        name = f"{manifest.lineage.method} {manifest.digest[7:13]}"
        found[name] = comparison.of(manifest)
        show(name, *found[name])
    if args.out:
        draw({name: compared.layers for name, compared in found.items()}, args.out)
    print(json.dumps({name: as_json(compared) for name, compared in found.items()}))


def as_json(compared: Compared) -> dict[str, object]:
    """Return the figures of one candidate."""
    return {
        "layers": {c: [row._asdict() for row in rows] for c, rows in compared.layers.items()},
        "updates": {tensor: one._asdict() for tensor, one in compared.updates.items()},
    }


if __name__ == "__main__":
    main()
