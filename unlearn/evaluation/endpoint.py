"""Scores through an engine's `/v1/completions`, with token ids as prompts.

What is asked is what lm-evaluation-harness's `local-completions` asks: the prompt echoed with its
tokens' log-likelihoods. Two things are left out that change no bit of the answer (the tests compare
them on a real model): the last token of each continuation, which the engine is asked for as a
possible *next* token, and with it every second prefill of the same tokens. So a question whose
four choices are one letter each takes one prefill instead of four.
"""

import http.client
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from unlearn.errors import EndpointError
from unlearn.evaluation.answers import Continuation, Scored

MAX_TOKENS_TOGETHER = 2048
MAX_PROMPTS_TOGETHER = 32
MAX_NEXT_TOKENS = 128
"""Of one request: vLLM's own limit (MAX_LOGPROB_TOKEN_IDS of 0.32)."""
CONCURRENT = 2
"""Requests in flight: one is computed while the other is read and answered."""
TIMEOUT_SECONDS = 300.0
PAUSES_SECONDS = (1.0, 4.0, 16.0, 64.0)
"""Before each further try; together longer than an engine takes to start again."""
NO_LIKELIHOOD = -9999.0
"""What vLLM writes for minus infinity, which JSON cannot hold."""


class Prefill(NamedTuple):
    """One prompt, and the continuations whose likelihoods it gives."""

    tokens: tuple[int, ...]
    continuations: tuple[Continuation, ...]

    @property
    def is_echoed(self) -> bool:
        """Whether likelihoods inside the prompt are needed too."""
        return any(len(one.tokens) > 1 for one in self.continuations)


@dataclass
class Cost:
    """What scoring took."""

    prefills: int = 0
    tokens: int = 0
    continuations: int = 0

    def __str__(self) -> str:
        return (
            f"{self.continuations} likelihoods from {self.prefills} prefills, {self.tokens} tokens"
        )


@dataclass(frozen=True)
class Endpoint:
    """An engine and the key to it.

    Raises:
        EndpointError: The key cannot be sent; the client's own words for that would repeat it.
    """

    url: str
    model: str
    api_key: str = field(repr=False)
    timeout_seconds: float = TIMEOUT_SECONDS
    pauses_seconds: tuple[float, ...] = PAUSES_SECONDS
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise EndpointError(self.url, "its key is no single line of ASCII")

    def __call__(self, wanted: Sequence[Continuation]) -> Iterator[Scored]:
        """Yield likelihoods as they come.

        Raises:
            EndpointError: The engine refuses a request, or does not answer.
        """
        batches = list(_batches(prefills(wanted)))
        with ThreadPoolExecutor(CONCURRENT) as pool:
            asked = [pool.submit(self._ask, batch) for batch in batches]
            try:
                for answer in as_completed(asked):
                    yield answer.result()
            finally:
                for future in asked:
                    future.cancel()

    def _ask(self, batch: Sequence[Prefill]) -> Scored:
        last = {one.tokens[-1] for prefill in batch for one in prefill.continuations}
        body = {
            "model": self.model,
            "prompt": [prefill.tokens for prefill in batch],
            "temperature": 0,
            "max_tokens": 1,
            "logprobs": 1,
            "logprob_token_ids": sorted(last),
            "return_tokens_as_token_ids": True,
            "echo": batch[0].is_echoed,
        }
        answer = self.post("/v1/completions", body)
        choices = answer.get("choices")
        if not isinstance(choices, list) or len(choices) != len(batch):
            raise EndpointError(self.url, "it answered another number of prompts")
        choices.sort(key=lambda choice: choice["index"])
        self.cost.prefills += len(batch)
        self.cost.tokens += sum(len(prefill.tokens) for prefill in batch)
        self.cost.continuations += sum(len(prefill.continuations) for prefill in batch)
        return [
            (one, likelihood(choice.get("logprobs"), one, is_echoed=batch[0].is_echoed))
            for prefill, choice in zip(batch, choices, strict=True)
            for one in prefill.continuations
        ]

    def post(self, path: str, body: object) -> dict[str, object]:
        """Return the engine's answer to a request, trying again while it does not answer.

        Raises:
            EndpointError: It refuses the request, or never answers.
        """
        problem = ""
        for pause in (*self.pauses_seconds, None):
            try:
                status, raw = self._send(path, json.dumps(body).encode())
                if status == http.client.OK:
                    return cast(dict[str, object], json.loads(raw))
                problem = f"status {status}: {raw[:300].decode(errors='replace')}"
                if status < http.client.INTERNAL_SERVER_ERROR:
                    break  # It will refuse the same request again.
            except (OSError, http.client.HTTPException, ValueError) as error:
                problem = str(error) or type(error).__name__
            if pause is not None:
                time.sleep(pause)
        raise EndpointError(self.url, problem)

    def _send(self, path: str, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.netloc, timeout=self.timeout_seconds)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.api_key}"}
        try:
            connection.request("POST", parts.path + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def prefills(wanted: Sequence[Continuation]) -> list[Prefill]:
    """Return the prompts that give all likelihoods, each prompt once, longest first."""
    groups: dict[tuple[int, ...], list[Continuation]] = defaultdict(list)
    for one in wanted:
        groups[one.context + one.tokens[:-1]].append(one)
    made = [
        Prefill(tokens, tuple(ones[start : start + MAX_NEXT_TOKENS]))
        for tokens, ones in groups.items()
        for start in range(0, len(ones), MAX_NEXT_TOKENS)
    ]
    return sorted(made, key=lambda prefill: (prefill.is_echoed, -len(prefill.tokens)))


def likelihood(logprobs: object, one: Continuation, *, is_echoed: bool) -> float | None:
    """Return a continuation's log-likelihood from what came back for its prompt.

    Returns:
        Nats; None when a token's likelihood is missing, is no number or is minus infinity.
    """
    if not isinstance(logprobs, dict):
        return None
    before = logprobs.get("token_logprobs") or []
    nexts = logprobs.get("top_logprobs") or []
    # Where the prompt is not echoed, the first entry is the next token's.
    start = len(one.context)
    place = start + len(one.tokens) - 1 if is_echoed else 0
    parts = [*(before[start:place] if is_echoed else ())]
    if len(parts) != len(one.tokens) - 1 or place >= len(nexts) or not nexts[place]:
        return None
    parts.append(nexts[place].get(f"token_id:{one.tokens[-1]}"))
    if not all(
        isinstance(p, int | float) and math.isfinite(p) and p > NO_LIKELIHOOD for p in parts
    ):
        return None
    return float(sum(parts))


def _batches(ordered: Sequence[Prefill]) -> Iterator[list[Prefill]]:
    batch: list[Prefill] = []
    tokens = 0
    for prefill in ordered:
        is_long = tokens + len(prefill.tokens) > MAX_TOKENS_TOGETHER
        nexts = sum(len(other.continuations) for other in (*batch, prefill))
        is_full = is_long or len(batch) == MAX_PROMPTS_TOGETHER or nexts > MAX_NEXT_TOKENS
        if batch and (is_full or batch[0].is_echoed != prefill.is_echoed):
            yield batch
            batch, tokens = [], 0
        batch.append(prefill)
        tokens += len(prefill.tokens)
    if batch:
        yield batch
