"""Enhanced GCG: one prefix for all questions that leads the activations back to the base's.

Greedy coordinate gradient (arXiv 2307.15043) with nanogcg's way to draw candidates. Enhanced as in
arXiv 2409.18025, section on enhanced GCG: not the likelihood of a target text is sought but the
representation. The loss is the mean relative squared distance, at the output of the last layer
that unlearning changed, between the activations of some prompts behind the prefix and those that
the base has without it; the layers above are the base's own. Unlike there, no fluency is asked for
and the budget is small. The prompts are left out when the prefix is measured.

A prefix is asked as text. What is searched is the tokens that the harness makes of that text and
all that stands behind it: tokenizers differ in what they make of a line's end and of a beginning.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import takewhile
from typing import NamedTuple, cast

import torch
from nanogcg.gcg import sample_ids_from_grad
from nanogcg.utils import get_nonascii_toks
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.attacks import Setting
from models.documents import digest_of
from unlearn.attacks.domain import Domain
from unlearn.attacks.readings import pass_through
from unlearn.attacks.split import halve
from unlearn.attacks.subject import (
    Outcome,
    Prompt,
    Subject,
    figure,
    layers_of,
    output_of,
    part_of,
)
from unlearn.errors import SuiteError
from unlearn.evaluation.inprocess import load
from unlearn.evaluation.tasks import Task

START = " x"
FORBIDDEN = set("{}%#\n\r")
"""The harness reads a description as a template: what would mean something there is not used."""
SEQUENCES_TOGETHER = 64


class Place(NamedTuple):
    """A place for a prefix: what the harness asks around it."""

    head: list[int]
    """Before the prefix: the tokenizer's own BOS, if it has one."""
    tail: list[int]
    """Behind it."""
    text: str
    """The tail's."""
    compared: int
    """How many of the last tokens are those of the prompt by itself, its first one left out.

    Attention rests on a text's first token: of the prompt, or of what stands before it.
    """


class Search(NamedTuple):
    """A prefix and how far it got."""

    tokens: list[int]
    losses: list[float]
    """Without the prefix's first change, then after each step the best so far."""


def find_prefix(subject: Subject, domain: Domain, setting: Setting) -> Outcome:
    """Search a prefix on some prompts, and ask all others behind it."""
    task = domain.task
    share = Fraction(int(str(setting["prompts"])), len(task.items))
    halves = halve(len(task.items), share, int(str(setting["seed"])))
    shown = part_of(task, halves.train)
    alone = subject.prompts(shown)
    layer = domain.layers[-1]
    wanted = _states(load(subject.base), [prompt.tokens for prompt in alone], layer)
    tokenizer = cast(PreTrainedTokenizerBase, subject.tokenizer)
    first = tokenizer.encode(START * int(str(setting["tokens"])), add_special_tokens=False)
    places = places_of(subject, shown, alone, first)
    model = subject.load()
    with torch.random.fork_rng(), cut_after(model, layer):
        torch.manual_seed(int(str(setting["seed"])))
        search = Searcher(model, tokenizer, places, wanted).run(first, setting)
    text = tokenizer.decode(search.tokens)
    asked = [prompt.tokens for prompt in subject.prompts(behind(task, text))]
    for item, place in zip(halves.train, places, strict=True):
        if list(asked[item]) != [*place.head, *search.tokens, *place.tail]:
            raise SuiteError(task.name, "the prefix that was found is asked as other tokens")
    lead = (*places[0].head, *search.tokens)
    after = subject.score(model, behind(part_of(task, halves.test), text))
    return Outcome(
        before=subject.right(halves.test),
        after=after,
        n=len(halves.test),
        found={
            "layer": layer,
            "first_loss": figure(search.losses[0]),
            "last_loss": figure(search.losses[-1]),
            "asked_as_searched": sum(asked[item][: len(lead)] == lead for item in halves.test),
            # Not the words: whoever reads a report could use them against the door.
            "prefix_digest": digest_of(text),
        },
    )


def behind(task: Task, prefix: str) -> Task:
    """Return a task whose prompts all stand behind a prefix."""
    described = f"{prefix}\n{task.definition.get('description') or ''}"
    return replace(task, definition={**task.definition, "description": described})


def places_of(
    subject: Subject, task: Task, alone: Sequence[Prompt], prefix: Sequence[int]
) -> list[Place]:
    """Return where a prefix stands in each of a task's prompts.

    Args:
        subject: Whose tokenizer reads them.
        task: What is asked.
        alone: Its prompts without a prefix.
        prefix: What the search starts with.

    Raises:
        SuiteError: The tokens behind a prefix cannot be told from its own.
    """
    tokenizer = cast(PreTrainedTokenizerBase, subject.tokenizer)
    start, bos = tokenizer.decode(prefix), tokenizer.bos_token_id
    found: list[Place] = []
    for prompt, row in zip(alone, subject.prompts(behind(task, start)), strict=True):
        asked, text = list(row.tokens), f"\n{prompt.text}"
        head = asked[: int(bos is not None and asked[0] == bos)]
        tail = asked[len(head) + len(prefix) :]
        pairs = zip(reversed(prompt.tokens[1:]), reversed(tail), strict=False)
        compared = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        whole = [*head, *prefix, *tail]
        if not compared or asked != whole or tokenizer.encode(start + text) != whole:
            raise SuiteError(task.name, "no prefix stands before its prompts as tokens of its own")
        found.append(Place(head, tail, text, compared))
    return found


def _states(model: PreTrainedModel, prompts: Sequence[tuple[int, ...]], layer: int) -> list[Tensor]:
    """Return of each prompt a layer's output (T, D), fp32."""
    found: dict[int, Tensor] = {}

    def take(number: int, places: list[int], states: Tensor) -> None:
        if number == layer:
            for row, place in enumerate(places):
                # A copy: as a view, one row would hold on to all of them.
                found[place] = states[row, : len(prompts[place])].to(torch.float32, copy=True)

    pass_through(model, prompts, take)
    return [found[place] for place in range(len(prompts))]


@contextmanager
def cut_after(model: PreTrainedModel, layer: int) -> Iterator[None]:
    """Leave the layers above one out, within the block."""
    whole = layers_of(model)
    model.base_model.layers = whole[: layer + 1]
    try:
        yield
    finally:
        model.base_model.layers = whole


class Searcher:
    """A search for a prefix."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        places: Sequence[Place],
        wanted: Sequence[Tensor],
    ) -> None:
        """Prepare.

        Args:
            model: Its last layer is the one that is compared.
            tokenizer: The model's.
            places: Of each prompt.
            wanted: Of each prompt the base's activations (T, D) without a prefix.
        """
        self._model = model.requires_grad_(requires_grad=False)
        self._tokenizer = tokenizer
        self._embed = model.get_input_embeddings()
        self._places = places
        self._wanted = wanted
        self._refused = self._refuse()

    def run(self, first: Sequence[int], setting: Setting) -> Search:
        """Search from some tokens on as many steps as the setting gives."""
        best = torch.tensor(first, device=self._model.device)  # (P,)
        losses = [float(self._losses(best.unsqueeze(0))[0])]
        for _ in range(int(str(setting["steps"]))):
            drawn = sample_ids_from_grad(
                best,
                self._gradient(best),
                int(str(setting["width"])),
                topk=int(str(setting["top_k"])),
                not_allowed_ids=self._refused,
            )
            drawn = drawn[self._is_askable(drawn)]
            if not len(drawn):
                losses.append(losses[-1])
                continue
            found = self._losses(drawn)
            if float(found.min()) < losses[-1]:
                best = drawn[found.argmin()]
            losses.append(min(losses[-1], float(found.min())))
        return Search(best.tolist(), losses)

    def _is_askable(self, prefixes: Tensor) -> Tensor:
        """Return which prefixes (N, P) come back from text as the same tokens: (N,).

        Before each prompt: a prefix's last token may become one with the line's end behind it.
        """
        texts = self._tokenizer.batch_decode(prefixes)
        is_askable = [True] * len(prefixes)
        for place in self._places:
            rows = self._tokenizer([text + place.text for text in texts])["input_ids"]
            for number, prefix in enumerate(prefixes.tolist()):
                is_askable[number] &= rows[number] == [*place.head, *prefix, *place.tail]
        return torch.tensor(is_askable, device=prefixes.device)

    def _refuse(self) -> Tensor:
        """Return the tokens that no prefix may have."""
        words = self._tokenizer.batch_decode([[token] for token in range(len(self._tokenizer))])
        odd = [token for token, word in enumerate(words) if FORBIDDEN & set(word) or not word]
        unlike = get_nonascii_toks(self._tokenizer).tolist()
        # The embedding may have rows that the tokenizer knows nothing of.
        spare = range(len(self._tokenizer), self._embed.num_embeddings)
        return torch.tensor(sorted({*odd, *unlike, *spare}))

    def _gradient(self, prefix: Tensor) -> Tensor:
        """Return the loss's gradient by each prefix token's one-hot vector: (P, V).

        Raises:
            SuiteError: What the embedding does to its rows is not known.
        """
        chosen = nn.functional.one_hot(prefix, self._embed.num_embeddings)
        chosen = chosen.to(self._embed.weight.dtype).requires_grad_()
        # Gemma's embedding multiplies its rows by this.
        scale = torch.as_tensor(getattr(self._embed, "embed_scale", 1.0)).to(chosen)
        embedded = chosen @ self._embed.weight * scale
        if not torch.allclose(embedded, self._embed(prefix)):
            raise SuiteError("depth", f"{type(self._embed).__name__} embeds in a way of its own")
        losses = self._distances(embedded.unsqueeze(0))
        return torch.autograd.grad(losses.sum(), chosen)[0]

    @torch.no_grad()
    def _losses(self, prefixes: Tensor) -> Tensor:
        """Return the loss of each prefix (N, P): (N,)."""
        parts = torch.split(prefixes, SEQUENCES_TOGETHER)
        return torch.cat([self._distances(self._embed(part)) for part in parts])

    def _distances(self, prefixes: Tensor) -> Tensor:
        """Return the mean distance from what is wanted for prefixes (N, P, D): (N,)."""
        total = torch.zeros(len(prefixes), device=prefixes.device)
        last = layers_of(self._model)[-1]
        for place, wanted in zip(self._places, self._wanted, strict=True):
            kept: list[Tensor] = []
            hook = last.register_forward_hook(
                lambda *given, at=kept: at.append(output_of(given[2]))
            )
            fixed = [
                self._embed(torch.tensor(part, device=prefixes.device, dtype=torch.long))
                for part in (place.head, place.tail)
            ]
            around = [part.expand(len(prefixes), -1, -1) for part in fixed]
            try:
                whole = torch.cat([around[0], prefixes, around[1]], 1)
                self._model.base_model(inputs_embeds=whole, use_cache=False)
            finally:
                hook.remove()
            states = kept[0].float()[:, -place.compared :]
            aim = wanted[-place.compared :]
            total = total + (states - aim).square().sum((1, 2)) / aim.square().sum()
        return total / len(self._places)
