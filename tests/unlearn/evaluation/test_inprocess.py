"""Scoring in this process, without a store or a report."""

from copy import deepcopy

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.unlearn.architectures import CONFIGS
from tests.unlearn.evaluation.test_measure import CLOZE, GENERAL, local, measured
from unlearn.errors import SuiteError
from unlearn.evaluation import inprocess
from unlearn.evaluation.answers import Continuation
from unlearn.evaluation.inprocess import answers_of, score_with
from unlearn.trial import Trial

# The harness leaves files and sockets for the collector to close.
pytestmark = pytest.mark.filterwarnings("default")


def test_a_directory_is_scored_as_a_report_scores_it_and_a_trial_counts_that(
    pair, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)  # No git repository.
    tasks = (CLOZE, GENERAL)
    report = measured(pair, local(pair), tasks)
    checkpoint = pair.store.path(pair.candidate.digest)
    found = answers_of(checkpoint, tasks, pair.home / "cache")
    assert found == {subset.name: subset.candidate for subset in report.subsets}
    assert "fatal" not in capfd.readouterr().err, "git is not asked where it is"
    told = []
    counted = Trial(tasks, pair.home / "cache").measure(
        checkpoint, lambda known, of: told.append((known, of))
    )
    items = len(CLOZE.items) + len(GENERAL.items)
    assert (told[0], told[-1]) == ((0, items), (items, items))
    right = [sum(item.correct for item in found[task.name]) for task in tasks]
    assert counted == (right[0], len(CLOZE.items), right[1], len(GENERAL.items))


def test_a_trial_asks_no_canaries(tmp_path):
    trial = Trial.prepare("capitals", 12, tmp_path)
    assert [(task.kind, len(task.items)) for task in trial.tasks] == [
        ("hazard", 12),
        ("utility", 12),
    ]


LETTERS = [
    Continuation(tuple(range(3, 3 + length)), (token,))
    for length in (2, 9, 20, 14)
    for token in (5, 6, 7, 8)
]
TEXTS = [
    Continuation((3, 4, 5), (6, 7, 8)),
    Continuation((3, 4, 5), (6, 7, 9)),
    Continuation((9,) * 17, (10, 11)),
    Continuation((4,), (12, 13, 14, 15, 16, 17)),
]


@pytest.fixture
def model_of():
    """Return what makes a random model of an architecture, far from uniform."""

    def make(name, dtype=torch.float32):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            # Others write models of the same configurations in bfloat16, which stays in them.
            model = AutoModelForCausalLM.from_config(deepcopy(CONFIGS[name]), dtype=dtype).eval()
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        return model

    return make


def scored(model, wanted):
    return dict(pair for part in score_with(model)(wanted) for pair in part)


def by_the_harness(model, pair, wanted):
    """Return likelihoods as the harness's own model says them, from logits of every token."""
    tokenizer = AutoTokenizer.from_pretrained(pair.store.path(pair.base.digest))
    whole = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, device="cpu")
    requests = [(("", ""), list(one.context), list(one.tokens)) for one in wanted]
    said = whole._loglikelihood_tokens(requests, disable_tqdm=True)
    return [value for value, _ in said]


@pytest.mark.parametrize("name", list(CONFIGS))
def test_likelihoods_are_those_of_the_harness_that_takes_every_logit(model_of, pair, name):
    model, wanted = model_of(name), [*LETTERS, *TEXTS]
    found = scored(model, wanted)
    assert [found[one] for one in wanted] == pytest.approx(
        by_the_harness(model, pair, wanted), rel=1e-5
    )


@torch.no_grad()
def test_continuations_that_read_the_same_tokens_are_scored_each_from_its_own_start(model_of):
    """The harness takes the longer one's first tokens for the shorter one's."""
    model = model_of("llama")
    wanted = [Continuation((3, 4, 5), (6, 7, 8)), Continuation((3, 4, 5, 6), (7, 9))]
    said = model(torch.tensor([[3, 4, 5, 6, 7]])).logits[0].log_softmax(-1)
    first = float(said[2, 6] + said[3, 7] + said[4, 8])
    found = scored(model, wanted)
    assert [found[one] for one in wanted] == pytest.approx([first, float(said[3, 7] + said[4, 9])])


def test_in_bfloat16_a_batch_of_the_same_rows_says_the_same_to_the_bit(model_of, pair):
    model, wanted = model_of("llama", torch.bfloat16), [one for one in LETTERS if one.tokens[0] < 7]
    found = scored(model, wanted)
    assert [found[one] for one in wanted] == by_the_harness(model, pair, wanted)


def test_only_what_is_asked_goes_through_the_head_and_few_tokens_through_the_model(
    model_of, monkeypatch
):
    model, heads, passes = model_of("llama"), [], []
    model.get_output_embeddings().register_forward_hook(
        lambda _head, given, _said: heads.append(given[0].shape[:-1].numel())
    )
    model.register_forward_pre_hook(
        lambda _model, given, words: passes.append((*given[0].shape, words)), with_kwargs=True
    )
    whole = scored(model, [*LETTERS, *TEXTS])
    # Four rows of one letter each; and of 3, 2 and 6 tokens.
    assert heads == [4 + 3 + 2 + 6]
    assert passes == [(7, 20, {"use_cache": False})]
    heads.clear()
    passes.clear()
    monkeypatch.setattr(inprocess, "TOKENS_TOGETHER", 40)
    monkeypatch.setattr(inprocess, "ASKED_TOGETHER", 6)
    split = scored(model, [*LETTERS, *TEXTS])
    assert max(heads) <= 6
    assert all(rows * width <= 40 for rows, width, _ in passes)
    assert sum(rows for rows, _, _ in passes) == 7
    assert split == pytest.approx(whole, rel=1e-5)


def test_a_row_beyond_every_budget_is_a_pass_of_its_own(model_of, monkeypatch):
    model = model_of("llama")
    together = scored(model, TEXTS)
    monkeypatch.setattr(inprocess, "TOKENS_TOGETHER", 1)
    assert scored(model, TEXTS) == pytest.approx(together, rel=1e-5)


def test_a_model_that_calls_its_head_otherwise_is_not_scored(model_of):
    model = model_of("llama")
    model.set_output_embeddings(torch.nn.Identity())
    model.lm_head, model.other = torch.nn.Identity(), model.lm_head
    model.get_output_embeddings = lambda: model.other
    with pytest.raises(SuiteError, match="LlamaForCausalLM has a head of its own"):
        scored(model, LETTERS)
