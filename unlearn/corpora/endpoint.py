"""Asks an OpenAI-compatible endpoint for one text."""

import time

import httpx2

from unlearn.corpora.writing import Writing
from unlearn.errors import WriterError

# An engine that restarts is back within about a minute; a full queue answers 429 for less.
BACKOFF_SECONDS = (1.0, 4.0, 15.0, 45.0)
REQUEST_SECONDS = 600.0
PATHS = {"chat": "/chat/completions", "completions": "/completions"}


def open_client(key: str | None, concurrency: int) -> httpx2.Client:
    """Return a client that sends `key` and keeps a connection for each request under way."""
    return httpx2.Client(
        headers={"authorization": f"Bearer {key}"} if key else {},
        timeout=httpx2.Timeout(REQUEST_SECONDS, connect=10.0),
        limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
    )


def ask(client: httpx2.Client, writing: Writing, topic: str, seed: int) -> str:
    """Return a text on a topic; a busy or failing endpoint is asked again.

    Raises:
        WriterError: It refuses, or fails each time. The message has the status alone: an
            endpoint's own words may repeat the prompt.
    """
    address = writing.base_url + PATHS[writing.api]
    body = request_body(writing, topic, seed)
    problem = ""
    for pause in (*BACKOFF_SECONDS, None):
        try:
            response = client.post(address, json=body)
        except httpx2.TransportError as error:
            problem = f"cannot be reached ({type(error).__name__})"
        else:
            status = response.status_code
            if status == 200:
                return read_answer(response, writing)
            problem = f"answers {status}"
            if status in (401, 403):
                raise WriterError(writing.base_url, f"refuses the key ({status})")
            if status not in (408, 429) and status < 500:
                raise WriterError(writing.base_url, f"{problem}; is --model right?")
        if pause is not None:
            time.sleep(pause)
    raise WriterError(writing.base_url, problem)


def request_body(writing: Writing, topic: str, seed: int) -> dict[str, object]:
    """Return the request for one text."""
    prompt = writing.prompt.replace("{topic}", topic)
    body: dict[str, object] = {
        "model": writing.model,
        "temperature": writing.temperature,
        "top_p": writing.top_p,
        "max_tokens": writing.max_tokens,
        "seed": seed,
        "stream": False,
    }
    if writing.api == "chat":
        return body | {"messages": [{"role": "user", "content": prompt}]}
    return body | {"prompt": prompt}


def read_answer(response: httpx2.Response, writing: Writing) -> str:
    """Return an answer's text, without space around it; empty when the model said nothing.

    Raises:
        WriterError: It is none of an OpenAI-compatible endpoint.
    """
    try:
        choice = response.json()["choices"][0]
        text = choice["message"]["content"] if writing.api == "chat" else choice["text"]
        return (text or "").strip()
    except (ValueError, LookupError, TypeError, AttributeError):
        raise WriterError(writing.base_url, "answers in another shape than OpenAI's") from None
