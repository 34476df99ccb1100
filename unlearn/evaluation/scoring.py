"""The harness's view of a model: it encodes prompts, and asks a scorer what it does not know yet.

One class for every engine, so that the token ids, and with them the BOS token, are the same
whatever computes their likelihoods. The encoding is that of the harness's own Hugging Face model.
"""

import math
import threading
from collections.abc import Callable, Iterable
from functools import cache

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import has_bos_prefix
from transformers import PreTrainedTokenizerBase

from unlearn.errors import SuiteError
from unlearn.evaluation.answers import Answers, Continuation, Scorer

Request = tuple[tuple[str, str], list[int], list[int]]


class RecordingLM(TemplateLM):  # type: ignore[misc]
    """Scores continuations through a scorer, and keeps what it is told."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        scorer: Callable[[], Scorer],
        answers: Answers,
        max_length: int,
        on_progress: Callable[[int], None],
        harness: threading.RLock,
    ) -> None:
        """Prepare.

        Args:
            tokenizer: The checkpoint's.
            scorer: Makes what computes likelihoods, once one is not known.
            answers: What is known already; what is computed is added.
            max_length: Tokens that the engine takes; a longer item is an error, never cut.
            on_progress: Told how many continuations are known so far.
            harness: Held by the thread that runs the harness, which seeds global generators; it is
                let go while likelihoods are computed.
        """
        super().__init__()
        self.tokenizer = tokenizer
        self._scorer = cache(scorer)
        self._answers = answers
        self._max_length = max_length
        self._on_progress = on_progress
        self._known = 0
        self._harness = harness

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that stands for an empty context."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name, which the harness asks for beside a chat template."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: object
    ) -> list[int]:
        """Return a text's tokens, with the tokenizer's own BOS unless the text begins with it."""
        if add_special_tokens is None:
            bos = self.tokenizer.decode(self.prefix_token_id)
            add_special_tokens = not has_bos_prefix(string, bos)
            if add_special_tokens:
                return list(self.tokenizer.encode(string))
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return a conversation as the checkpoint's own template writes it."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Return each request's log-likelihood; the harness's own bar stays off."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(
        self, requests: list[Request], **_: object
    ) -> list[tuple[float, bool]]:
        """Return each request's log-likelihood; NaN where none came back.

        Raises:
            SuiteError: A request is longer than the engine takes, or has nothing to score.
        """
        wanted = [Continuation(tuple(before), tuple(after)) for _, before, after in requests]
        for continuation in wanted:
            length = len(continuation.context) + len(continuation.tokens)
            if not continuation.tokens or length >= self._max_length:
                raise SuiteError(
                    "items",
                    f"one has {length} tokens; the engine takes 1 to {self._max_length - 1}",
                )
        self._harness.release()
        try:
            self._measure(dict.fromkeys(wanted))
        finally:
            self._harness.acquire()
        known = [self._answers.get(continuation) for continuation in wanted]
        return [(math.nan if value is None else value, False) for value in known]

    def _measure(self, wanted: Iterable[Continuation]) -> None:
        everything = list(wanted)
        open_ones = [one for one in everything if self._answers.get(one) is None]
        self._tell(len(everything) - len(open_ones))
        if not open_ones:
            return
        for found in self._scorer()(open_ones):
            self._answers.add((one, value) for one, value in found if value is not None)
            self._tell(len(found))

    def _tell(self, more: int) -> None:
        self._known += more
        self._on_progress(self._known)

    def loglikelihood_rolling(self, requests: object, disable_tqdm: bool = False) -> list[float]:
        """Not asked by any suite."""
        raise NotImplementedError

    def generate_until(self, requests: object, disable_tqdm: bool = False) -> list[str]:
        """Not asked by any suite."""
        raise NotImplementedError
