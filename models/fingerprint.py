"""The behavioural fingerprint: what a checkpoint says to a few harmless prompts, token by token.

Recorded on the engine that was judged and replayed on the engine that serves, it shows weights or
arithmetic that have drifted although every digest still fits. Greedy answers may change with the
shape of a batch where two tokens are nearly tied, so an answer is kept only as far as every token
leads the next one by a clear margin.
"""

import http.client
import json
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, ValidationError

from models.documents import Digest, Document, read_document, write_bytes
from models.errors import EngineError
from models.report import Profile
from models.store import CheckpointStore

PROMPTS = (
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10,",
    "2, 4, 6, 8, 10, 12, 14,",
    "10, 20, 30, 40, 50,",
    "a b c d e f g h i j k",
    "A, B, C, D, E, F, G, H,",
    "The cat sat on the mat. The cat sat on the mat. The cat sat on",
    "I am, you are, he is, she is, it is, we are,",
    "def add(a, b):\n    return a + b\n\ndef subtract(a, b):\n    return",
)
"""Beginnings that leave little choice: on the 135M demo model these give about 70 tokens with a
clear lead, while six open beginnings gave 9."""
MAX_TOKENS = 12
MARGIN_NATS = 0.5
"""Well above what rounding in another batch may move a log-likelihood by."""
MIN_TOKENS = 12
"""Of all prompts together; with fewer a fingerprint tells too little apart."""
TIMEOUT_SECONDS = 120.0


class Answer(Document):
    """What was said to one prompt."""

    prompt: Annotated[str, Field(min_length=1)]
    tokens: Annotated[tuple[int, ...], Field(min_length=1)]
    """Ids of the greedy answer's first tokens."""


class Fingerprint(Document):
    """The answers of one checkpoint under one profile."""

    checkpoint: Digest
    profile: Digest
    answers: Annotated[tuple[Answer, ...], Field(min_length=1)]


def fingerprint_path(store: CheckpointStore, checkpoint: Digest, profile: Digest) -> Path:
    """Return where the fingerprint of a checkpoint under a profile is kept."""
    return store.root / "fingerprints" / checkpoint[7:] / f"{profile[7:]}.json"


def keep(store: CheckpointStore, fingerprint: Fingerprint) -> None:
    """Keep a fingerprint beside its checkpoint, in place of an earlier one.

    Raises:
        StoreFullError: No room is left.
    """
    path = fingerprint_path(store, fingerprint.checkpoint, fingerprint.profile)
    write_bytes(path, fingerprint.model_dump_json(indent=2).encode())


def kept(store: CheckpointStore, checkpoint: Digest, profile: Digest) -> Fingerprint | None:
    """Return the fingerprint of a checkpoint under a profile, if one was recorded.

    It is signed with the release that it goes into, not by itself.

    Raises:
        DocumentError: It cannot be read.
    """
    path = fingerprint_path(store, checkpoint, profile)
    return read_document(path, Fingerprint) if path.exists() else None


class _Choice(Document):
    model_config = ConfigDict(extra="ignore")

    token_ids: tuple[int, ...]
    logprobs: dict[str, object]


class _Completion(Document):
    model_config = ConfigDict(extra="ignore")

    choices: Annotated[tuple[_Choice, ...], Field(min_length=1, max_length=1)]


def record(url: str, api_key: str, checkpoint: Digest, profile: Profile) -> Fingerprint:
    """Ask a running engine every prompt and return what it says.

    Args:
        url: The engine's root address.
        api_key: Its key.
        checkpoint: The digest under which it serves; also the request's `model`.
        profile: How it runs the weights.

    Raises:
        EngineError: It does not answer, or is so undecided that too few tokens are left.
    """
    answers = []
    for prompt in PROMPTS:
        tokens = _clear_tokens(_ask(url, api_key, checkpoint, prompt))
        if tokens:
            answers.append(Answer(prompt=prompt, tokens=tokens))
    count = sum(len(answer.tokens) for answer in answers)
    if count < MIN_TOKENS:
        raise EngineError(f"only {count} tokens are clear enough for a fingerprint")
    return Fingerprint(
        checkpoint=checkpoint, profile=profile.document_digest, answers=tuple(answers)
    )


def request(prompt: str, checkpoint: Digest, max_tokens: int) -> dict[str, object]:
    """Return the completion request that records a prompt's answer."""
    return {
        "model": checkpoint,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
        "logprobs": 2,
    }


def _ask(url: str, api_key: str, checkpoint: Digest, prompt: str) -> _Choice:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS
    )
    try:
        connection.request(
            "POST",
            "/v1/completions",
            json.dumps(request(prompt, checkpoint, MAX_TOKENS)),
            {"authorization": f"Bearer {api_key}", "content-type": "application/json"},
        )
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise EngineError(f"the engine at {url} answered a prompt with status {answer.status}")
        return _Completion.model_validate_json(answer.read()).choices[0]
    except (OSError, http.client.HTTPException, ValidationError) as error:
        raise EngineError(f"the engine at {url} cannot be asked: {error}") from error
    finally:
        connection.close()


def _clear_tokens(choice: _Choice) -> tuple[int, ...]:
    """Return the answer's beginning in which every token leads by `MARGIN_NATS`."""
    tops = choice.logprobs.get("top_logprobs")
    kept: list[int] = []
    for token, top in zip(choice.token_ids, tops if isinstance(tops, list) else [], strict=False):
        ranked = sorted((float(value) for value in top.values()), reverse=True)
        if len(ranked) < 2 or ranked[0] - ranked[1] < MARGIN_NATS:
            break
        kept.append(token)
    return tuple(kept)
