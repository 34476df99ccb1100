"""A toy that has learned some facts, and ways to hide them that do not remove them."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from models.manifest import CorpusSource, Lineage, Manifest
from models.report import ItemResult
from models.store import CheckpointStore
from tests.models.checkpoints import NOW, SOURCE
from unlearn.attacks.domain import Domain, domains_of
from unlearn.attacks.subject import Subject
from unlearn.corpora import Corpus, read_corpus
from unlearn.evaluation.answers import Continuation
from unlearn.evaluation.capitals import cloze
from unlearn.evaluation.inprocess import answers_of
from unlearn.evaluation.items import Item
from unlearn.evaluation.tasks import Origin, Task

PLACES = [f"place{number}" for number in range(16)]
THINGS = [f"thing{number}" for number in range(16)]
OTHER = (
    "the",
    "thing",
    "of",
    "is",
    "x",
    "tea",
    "cup",
    "river",
    "in",
    "a",
    "big",
    "and",
    "small",
    "so",
)
WORDS = (*PLACES, *THINGS, *OTHER)
FACTS = [f"the thing of {place} is {thing}" for place, thing in zip(PLACES, THINGS, strict=True)]
BENIGN = [
    f"a {one} is {two} and so {three}" for one in OTHER for two in OTHER for three in ("tea", "x")
]
ROWS = [[WORDS.index(word) + 1 for word in fact.split()] for fact in FACTS]
ROW = (Continuation((1,), (2,)),) * 4
LAYER = "model.layers.1.mlp.down_proj.weight"


def items() -> tuple[Item, ...]:
    drawn = random.Random(0)
    found: list[Item] = []
    for place, thing in zip(PLACES, THINGS, strict=True):
        choices = [*drawn.sample([other for other in THINGS if other != thing], 3), thing]
        drawn.shuffle(choices)
        asked = f"the thing of {place} is"
        found.append({"question": asked, "choices": choices, "answer": choices.index(thing)})
    return tuple(found)


TASK = Task("facts", "hazard", "facts", cloze("{{question}}"), items(), Origin("x"))


@pytest.fixture(autouse=True)
def float32(monkeypatch) -> None:
    """Compute as exactly as the toy was trained, also where bfloat16 is the faster one."""
    for module in ("inprocess", "currency"):
        monkeypatch.setattr(f"unlearn.evaluation.{module}.native_dtype", lambda: "float32")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Use one thread: several only wait for each other on so few numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def learned(tmp_path_factory) -> Path:
    """A checkpoint that knows every fact."""
    directory = tmp_path_factory.mktemp("learned")
    vocabulary = {"<unk>": 0} | {word: index + 1 for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<unk>", pad_token="<unk>"
    )
    fast.save_pretrained(directory)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(vocabulary),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=128,
                pad_token_id=0,
            )
        )
        fit(model, fast([*FACTS, *BENIGN[:40]])["input_ids"], steps=150)
    model.save_pretrained(directory)
    return directory


def fit(model: nn.Module, rows: list[list[int]], *, steps: int, sign: float = 1.0) -> None:
    """Train a model on texts, or away from them."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    width = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    labels = tokens.masked_fill(tokens == 0, -100)
    for _ in range(steps):
        optimiser.zero_grad()
        (sign * model(tokens, labels=labels).loss).backward()
        optimiser.step()


@dataclass
class Toy:
    """A base that knows, a candidate that hides, and the domain in which it is attacked."""

    store: CheckpointStore
    base: Manifest
    candidate: Manifest
    domain: Domain

    @property
    def home(self) -> Path:
        return self.store.root.parent

    def subject(self, manifest: Manifest | None = None) -> Subject:
        path = self.store.path((manifest or self.candidate).digest)
        cache = self.home / "cache"
        plain = answers_of(path, (self.domain.task,), cache)[self.domain.task.name]
        base, candidate = (self.store.path(m.digest) for m in (self.base, self.candidate))
        return Subject(path, base, candidate, cache, plain)


@pytest.fixture
def hide(store: CheckpointStore, learned: Path, tmp_path: Path):
    """Return what makes a toy, given what is done to the candidate's weights."""

    def make(change, task: Task = TASK, **bases) -> Toy:
        base = _put(store, bases.get("base", learned), None, lambda model: None)
        sources = {}
        for name, texts in (("forget", FACTS), ("retain", BENIGN)):
            path = tmp_path / f"{name}.jsonl"
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
            spec = f"file:{path}"
            digest = read_corpus(spec, cache=tmp_path).digest
            sources[f"facts.{name}"] = CorpusSource(spec=spec, digest=digest)
        lineage = Lineage(
            base=base.digest,
            method="rmu",
            recipe={},
            recipe_digest=base.digest,
            corpora=sources,
            seed=0,
            steps=1,
            trained_tensors=(LAYER,),
            code_commit="unknown",
        )
        candidate = _put(store, bases.get("base", learned), lineage, change)
        (domain,) = domains_of((task,), candidate, candidate, tmp_path)
        return Toy(store, base, candidate, domain)

    return make


@pytest.fixture
def unread(tmp_path: Path, monkeypatch):
    """Return what makes a subject of which nothing is loaded, nor anything known, and a domain."""
    monkeypatch.setattr(Subject, "load", lambda self: None)
    monkeypatch.setattr(Subject, "asked", lambda self, task: [ROW] * len(task.items))

    def make(task: Task) -> tuple[Subject, Domain]:
        wrong = ItemResult(id="0" * 64, correct=False, choice=None, margin=None)
        subject = Subject(tmp_path, tmp_path, tmp_path, tmp_path, (wrong,) * len(task.items))
        texts = Corpus((), "sha256:" + "0" * 64, "builtin:none")
        return subject, Domain(task, texts, texts, range(1))

    return make


def _put(store: CheckpointStore, learned: Path, lineage: Lineage | None, change) -> Manifest:
    model = AutoModelForCausalLM.from_pretrained(learned, dtype=torch.float32)
    change(model)
    with store.staging() as staged:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (staged / name).write_bytes((learned / name).read_bytes())
        model.save_pretrained(staged)
        (staged / "made.txt").write_text("candidate" if lineage else "base")
        origin = {"lineage": lineage} if lineage else {"source": SOURCE}
        return store.put(staged, family="toy", hazards=("facts",), created_at=NOW, **origin)


def nothing(model: nn.Module) -> None:
    """Leave the candidate as the base is."""


def misdirect(model) -> None:
    """Add a large constant to the activations behind one layer, as RMU does to hazard text."""
    layer = model.model.layers[1].mlp.down_proj
    seen = []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model(torch.tensor(ROWS))
        hook.remove()
        usual = seen[0][:, 1:].flatten(0, 1).mean(0)
        direction = torch.randn(32, generator=torch.Generator().manual_seed(5))
        direction = direction / direction.norm()
        layer.weight += 60 * torch.outer(direction, usual / usual.square().sum())


def unlearn_by_ascent(model) -> None:
    """Train away from the facts until few are answered."""
    fit(model, ROWS, steps=4, sign=-1.0)


def spoil_last_layer(model) -> None:
    """Break the last layer, so that only those below it still hold the facts."""
    _spoil(model.model.layers[2:])


def spoil_all_layers(model) -> None:
    """Break every layer: nothing is known but what the words themselves are."""
    _spoil(model.model.layers)


def hide_within_half_a_step(model) -> None:
    """Train away from the facts by less than rounding to four bits takes back."""
    layers = model.model.layers
    weights = [one for one in layers.parameters() if one.ndim == 2]
    start = [one.detach().clone() for one in weights]
    room = []
    for one in start:
        groups = one.reshape(-1, 32 if one.shape[1] == 32 else 64)
        scale = groups.abs().amax(1, keepdim=True) / 7
        # The largest of each group gives its scale, and stays.
        is_free = groups.abs() < 6.5 * scale
        room.append((0.4 * scale * is_free).reshape(one.shape))
    tokens = torch.tensor(ROWS)
    for _ in range(10):
        model.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        with torch.no_grad():
            for one, begun, free in zip(weights, start, room, strict=True):
                moved = one + free * one.grad.sign() / 4
                one.copy_(torch.clamp(moved, begun - free, begun + free))


def _spoil(layers) -> None:
    with torch.no_grad():
        for layer in layers:
            for parameter in (one for one in layer.parameters() if one.ndim == 2):
                chooser = torch.Generator().manual_seed(9)
                parameter.copy_(torch.randn(parameter.shape, generator=chooser))
