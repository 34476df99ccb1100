"""Request bodies as a typed allow-list: what is not declared here never reaches an engine.

`seed` is missing on purpose: on vLLM's CPU engine one request with it ends the process. Fields in
`ELEVATED` can bring unlearned knowledge back (forced tokens, likelihoods of the caller's own text),
so only tiers that are marked elevated may use them.
"""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.errors import (
    InvalidJsonError,
    InvalidRequestError,
    RequestError,
    UnsupportedParameterError,
)

MAX_MESSAGES = 512
MAX_PROMPTS = 64
MAX_PROMPT_ITEMS = 32_768
"""Prompts are texts, or the token ids of one prompt; a list must hold one kind of them."""
ELEVATED = ("echo", "logit_bias", "min_p", "prompt_logprobs", "top_k")

Unit = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Count = Annotated[int, Meta(ge=1)]
Choices = Annotated[int, Meta(ge=1, le=8)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
StopText = Annotated[str, Meta(min_length=1, max_length=200)]
Stop = StopText | Annotated[list[StopText], Meta(min_length=1, max_length=4)]
LogitBias = Annotated[dict[str, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1024)]


class TextPart(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A part of a message; only text is accepted, so nothing is ever fetched from an address."""

    text: str


class Message(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: Annotated[str, Meta(max_length=64)] | None = None


class StreamOptions(Struct, forbid_unknown_fields=True):
    """What a stream carries beside its text."""

    include_usage: bool = False


class Sampling(Struct, kw_only=True, forbid_unknown_fields=True):
    """What both kinds of request have in common."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    max_tokens: Count | UnsetType | None = UNSET
    temperature: Temperature | UnsetType | None = UNSET
    top_p: Unit | UnsetType | None = UNSET
    n: Choices | UnsetType | None = UNSET
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    stop: Stop | UnsetType | None = UNSET
    presence_penalty: Penalty | UnsetType | None = UNSET
    frequency_penalty: Penalty | UnsetType | None = UNSET
    user: Annotated[str, Meta(max_length=512)] | None = None
    logit_bias: LogitBias | UnsetType | None = UNSET
    min_p: Unit | UnsetType | None = UNSET
    prompt_logprobs: TopLogprobs | UnsetType | None = UNSET
    top_k: Annotated[int, Meta(ge=-1, le=1000)] | UnsetType | None = UNSET


class ChatRequest(Sampling, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Count | UnsetType | None = UNSET
    logprobs: bool | UnsetType | None = UNSET
    top_logprobs: TopLogprobs | UnsetType | None = UNSET


class CompletionRequest(Sampling, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/completions`."""

    prompt: str | Annotated[list[str | int], Meta(min_length=1, max_length=MAX_PROMPT_ITEMS)]
    echo: bool | UnsetType | None = UNSET
    logprobs: Annotated[int, Meta(ge=0, le=20)] | UnsetType | None = UNSET


InferenceRequest = ChatRequest | CompletionRequest

UNKNOWN_FIELD = re.compile(r"unknown field `(?P<field>[^`]*)`")
PLACE = re.compile(r" - at `\$?\.?(?P<path>[^`]*)`$")


def decode(body: bytes, decoder: msgspec.json.Decoder[InferenceRequest]) -> InferenceRequest:
    """Parse a body once into a typed request.

    Raises:
        InvalidJsonError: It is no JSON in UTF-8.
        UnsupportedParameterError: It has a field that is not declared.
        InvalidRequestError: A field is missing, or has the wrong type or value.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJsonError("The body is not valid JSON in UTF-8.") from error


def check_limits(request: InferenceRequest, *, elevated: bool, max_output_tokens: int) -> None:
    """Refuse what a tier may not use, or nobody may ask for.

    Raises:
        UnsupportedParameterError: A field that the tier may not use.
        InvalidRequestError: More tokens than are served.
    """
    for field in ELEVATED:
        value = getattr(request, field, UNSET)
        if value is not UNSET and value is not None and not elevated:
            raise UnsupportedParameterError(field, "your access tier may not use it")
    for field in ("max_tokens", "max_completion_tokens"):
        value = getattr(request, field, None)
        if isinstance(value, int) and value > max_output_tokens:
            raise InvalidRequestError(f"'{field}' is at most {max_output_tokens}.", field)
    if isinstance(request, CompletionRequest) and isinstance(request.prompt, list):
        kinds = {type(item) for item in request.prompt}
        if len(kinds) > 1 or (kinds == {str} and len(request.prompt) > MAX_PROMPTS):
            raise InvalidRequestError(
                f"'prompt' is a text, up to {MAX_PROMPTS} texts, or the token ids of one prompt.",
                "prompt",
            )
    if request.stream_options is not None and not request.stream:
        raise InvalidRequestError("'stream_options' needs 'stream'.", "stream_options")


def encode(request: InferenceRequest, checkpoint: str, cache_salt: str) -> bytes:
    """Return the body that the engine gets: the caller's fields and the gateway's own.

    Args:
        request: A checked request.
        checkpoint: The digest that must answer; an engine with other weights refuses it.
        cache_salt: Keeps the prefix caches of tenants and tiers apart.
    """
    body: dict[str, object] = msgspec.to_builtins(request)
    body.pop("user")
    body |= {"model": checkpoint, "cache_salt": cache_salt, "stream": bool(request.stream)}
    if request.stream:
        body["stream_options"] = {"include_usage": True}
    else:
        body.pop("stream_options")
    return msgspec.json.encode(body)


def _explain(message: str) -> RequestError:
    """Turn msgspec's sentence into an error that names the field."""
    place = PLACE.search(message)
    path = place["path"] if place else ""
    unknown = UNKNOWN_FIELD.search(message)
    if unknown:
        field = f"{path}.{unknown['field']}" if path else unknown["field"]
        return UnsupportedParameterError(field[:200])
    missing = re.search(r"missing required field `([^`]*)`", message)
    param = ".".join(filter(None, (path, missing[1] if missing else ""))) or None
    return InvalidRequestError(
        PLACE.sub("", message) + (f" at '{param}'." if param else "."), param
    )
