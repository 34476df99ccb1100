"""A prefix is searched as the tokens that are asked, and its loss is that of the formula."""

from copy import deepcopy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from tests.unlearn.architectures import CONFIGS
from tests.unlearn.attacks.conftest import TASK, WORDS, misdirect
from unlearn.attacks import prefix
from unlearn.attacks.prefix import START, Place, Searcher, behind, find_prefix, places_of
from unlearn.attacks.settings import attacks_of
from unlearn.attacks.split import halve
from unlearn.attacks.subject import Subject, part_of
from unlearn.errors import SuiteError
from unlearn.evaluation.tasks import Task

pytestmark = pytest.mark.filterwarnings("default")
SETTING = next(attack.setting for attack in attacks_of("miniature") if attack.kind == "prefix")
BYTES = [f"<0x{number:02X}>" for number in range(256)]
LAYER = 1


def perturb(model) -> None:
    """Change the layer that a lineage names."""
    weight = model.model.layers[LAYER].mlp.down_proj.weight
    with torch.no_grad():
        weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(4))


def like_llama_2() -> PreTrainedTokenizerFast:
    """Return a tokenizer that puts a mark before any text and spells unknown signs in bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *BYTES]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([word for word in WORDS for _ in range(3)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def ending_in_lines() -> PreTrainedTokenizerFast:
    """Return a tokenizer that makes one token of a full stop and the line's end behind it."""
    signs = sorted({sign for word in WORDS for sign in word} | set(" .\n"))
    pieces = ["<unk>", "</s>", *signs, " x", ".\n"]
    merges = [(" ", "x"), (".", "\n")]
    model = models.BPE({piece: number for number, piece in enumerate(pieces)}, merges)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="</s>"
    )


@pytest.fixture
def base_of(tmp_path):
    """Return what writes a random checkpoint with a tokenizer."""

    def write(tokenizer: PreTrainedTokenizerFast) -> Path:
        directory = tmp_path / "base"
        tokenizer.save_pretrained(directory)
        with torch.random.fork_rng():
            torch.manual_seed(6)
            model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=len(tokenizer),
                    hidden_size=32,
                    intermediate_size=64,
                    num_hidden_layers=3,
                    num_attention_heads=2,
                    num_key_value_heads=2,
                    max_position_embeddings=256,
                    initializer_range=0.3,
                )
            )
        model.save_pretrained(directory)
        return directory

    return write


@pytest.fixture
def scored(monkeypatch) -> list[Task]:
    """What would have been scored."""
    tasks: list[Task] = []

    def score(self, model, task):
        tasks.append(task)
        return 3

    monkeypatch.setattr(Subject, "score", score)
    return tasks


@torch.no_grad()
def loss_of(toy, text: str) -> float:
    """Return how far from the base's the activations are of what is asked behind a text."""
    subject, task = toy.subject(), toy.domain.task
    train = halve(len(task.items), Fraction(2, len(task.items)), 0).train
    shown, total = part_of(task, train), 0.0
    base, candidate = (toy.subject(one).load().model for one in (toy.base, toy.candidate))
    for alone, asked in zip(subject.asked(shown), subject.asked(behind(shown, text)), strict=True):
        plain, whole = alone[0].context, asked[0].context
        common = next(
            number
            for number in range(len(plain))
            if number == len(plain) - 1 or plain[-number - 1] != whole[-number - 1]
        )
        assert common > len(plain) / 2
        wanted, found = (
            # Before the last layer there is no norm behind what a layer puts out.
            model(torch.tensor([row]), output_hidden_states=True).hidden_states[LAYER + 1][0]
            for model, row in ((base, plain), (candidate, whole))
        )
        apart = (found[-common:] - wanted[-common:]).square().sum()
        total += float(apart / wanted[-common:].square().sum())
    return total / len(train)


def test_the_loss_is_that_of_what_is_asked_whatever_a_tokenizer_puts_before_a_text(
    hide, base_of, scored
):
    toy = hide(perturb, base=base_of(like_llama_2()))
    outcome = find_prefix(toy.subject(), toy.domain, {**SETTING, "steps": 4, "width": 12})
    text = str(scored[0].definition["description"]).removesuffix("\n")
    assert outcome.found["last_loss"] == pytest.approx(loss_of(toy, text), rel=1e-5, abs=2e-4)
    assert outcome.found["first_loss"] == pytest.approx(loss_of(toy, START * 3), rel=1e-5, abs=2e-4)
    assert outcome.found["last_loss"] < outcome.found["first_loss"]
    assert outcome.found["asked_as_searched"] == outcome.n


def test_a_prefix_that_would_become_one_token_with_the_lines_end_is_not_taken(
    hide, base_of, scored, monkeypatch
):
    toy = hide(perturb, base=base_of(ending_in_lines()))
    subject = toy.subject()
    token = {word: subject.tokenizer.convert_tokens_to_ids(word) for word in (" x", ".", "o")}
    ends = torch.tensor([[token[" x"], token[one], token["."]] for one in ("o", ".")])
    monkeypatch.setattr(prefix, "sample_ids_from_grad", lambda *_, **__: ends)
    monkeypatch.setattr(Searcher, "_losses", lambda self, rows: (rows != token["."]).sum(1).float())
    outcome = find_prefix(subject, toy.domain, SETTING)
    assert outcome.found["last_loss"] == outcome.found["first_loss"]
    assert str(scored[0].definition["description"]).removesuffix("\n") == " x x x"


def test_a_prefix_that_is_asked_as_other_tokens_ends_the_attack(hide, base_of, scored, monkeypatch):
    toy = hide(perturb, base=base_of(ending_in_lines()))
    token = toy.subject().tokenizer.convert_tokens_to_ids
    found = prefix.Search([token(" x"), token("o"), token(".")], [1.0, 1.0])
    monkeypatch.setattr(Searcher, "run", lambda self, first, setting: found)
    with pytest.raises(SuiteError, match="asked as other tokens"):
        find_prefix(toy.subject(), toy.domain, SETTING)
    assert not scored


def test_no_search_begins_where_a_prefixs_tokens_are_not_its_own(hide, base_of):
    toy = hide(perturb, base=base_of(ending_in_lines()))
    subject = toy.subject()
    with pytest.raises(SuiteError, match="tokens of its own"):
        places_of(subject, TASK, subject.prompts(TASK), subject.tokenizer.encode(" x."))


def test_a_prompts_first_token_does_not_count(hide):
    """The toy has no BOS, so that attention rests on the first token of the prompt itself."""
    toy = hide(misdirect)
    outcome = find_prefix(toy.subject(), toy.domain, {**SETTING, "steps": 0})
    text = toy.subject().tokenizer.decode(toy.subject().tokenizer([START * 3])["input_ids"][0])
    assert outcome.found["first_loss"] == pytest.approx(loss_of(toy, text), rel=1e-5, abs=2e-4)


@pytest.fixture
def searcher_of():
    """Return what makes a searcher of a random model of some architecture."""

    def make(name: str) -> Searcher:
        config = CONFIGS[name]
        words = {"<unk>": 0} | {f"w{number}": number for number in range(1, config.vocab_size)}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<unk>"
        )
        with torch.random.fork_rng():
            torch.manual_seed(11)
            model = AutoModelForCausalLM.from_config(deepcopy(config), dtype=torch.float32).eval()
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        wanted = torch.randn(5, config.hidden_size, generator=torch.Generator().manual_seed(2))
        place = Place(head=[], tail=[7, 8, 9, 10], text="\nw7 w8 w9 w10", compared=4)
        return Searcher(model, fast, [place], [wanted])

    return make


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3"])
def test_the_gradient_is_that_of_the_loss_that_is_searched(searcher_of, monkeypatch, name):
    distances, losses = Searcher._distances, []

    def listen(self, embedded):
        found = distances(self, embedded)
        losses.append(float(found[0].detach()))
        return found

    monkeypatch.setattr(Searcher, "_distances", listen)
    search = searcher_of(name).run([3, 4, 5], {**SETTING, "steps": 1})
    first, of_the_gradient, *_ = losses
    assert first == search.losses[0]
    assert of_the_gradient == pytest.approx(first, rel=1e-6)


def test_an_embedding_that_does_something_else_is_not_searched(searcher_of):
    searcher = searcher_of("llama")
    searcher._embed.register_forward_hook(lambda _layer, _given, embedded: embedded + 1)
    with pytest.raises(SuiteError, match="embeds in a way of its own"):
        searcher.run([3, 4, 5], SETTING)


def test_as_many_prompts_are_shown_as_the_setting_says(hide, tmp_path, monkeypatch):
    """Five of 77 were four, once their share was a float."""
    domain, shown = hide(perturb).domain, []
    task = replace(TASK, items=(TASK.items * 5)[:77])

    def stop(self, given):
        shown.append(len(given.items))
        raise SuiteError(given.name, "enough")

    monkeypatch.setattr(Subject, "prompts", stop)
    subject = Subject(tmp_path, tmp_path, tmp_path, tmp_path, ())
    with pytest.raises(SuiteError, match="enough"):
        find_prefix(subject, replace(domain, task=task), {**SETTING, "prompts": 5})
    assert shown == [5]
