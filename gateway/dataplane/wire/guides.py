"""What the form of an answer follows: JSON Schemas, patterns, grammars.

All are bounded, since an engine compiles each of them before the first token.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.dataplane.wire.request import Description, FunctionName
from gateway.errors import InvalidRequestError

MAX_SCHEMA_BYTES = 32_768
MAX_DEPTH = 32
MAX_NODES = 4_096
MAX_PATTERN = 512
MAX_REPEATS = 4_096
REPEATS = frozenset(
    {"maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"}
)

JsonObject = dict[str, Any]
"""A document of the caller's own form; `check_document` bounds it."""


class JsonSchema(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A schema with its name."""

    name: FunctionName
    schema: JsonObject
    description: Description | None = None
    strict: bool | None = None


class TextFormat(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """Any text."""


class JsonObjectFormat(Struct, forbid_unknown_fields=True, tag_field="type", tag="json_object"):
    """Some JSON object."""


class JsonSchemaFormat(Struct, forbid_unknown_fields=True, tag_field="type", tag="json_schema"):
    """A JSON document that a schema describes."""

    json_schema: JsonSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StructuredOutputs(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """vLLM's own field; exactly one form."""

    json: JsonObject | None = None
    regex: Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN)] | None = None
    choice: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=200)]],
            Meta(min_length=1, max_length=256),
        ]
        | None
    ) = None
    grammar: Annotated[str, Meta(min_length=1, max_length=8192)] | None = None


class Function(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A function that the model may call."""

    name: FunctionName
    description: Description | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Tool(Struct, forbid_unknown_fields=True):
    """A tool of chat completions; only functions, which the caller runs."""

    function: Function
    type: Literal["function"] = "function"


class FunctionRef(Struct, forbid_unknown_fields=True):
    """A function by name."""

    name: FunctionName


class NamedTool(Struct, forbid_unknown_fields=True):
    """The tool that must be called."""

    function: FunctionRef
    type: Literal["function"] = "function"


def nodes(document: object) -> Iterator[tuple[int, str | None, object]]:
    """Yield each value of a document with its depth and its key."""
    waiting: list[tuple[int, str | None, object]] = [(1, None, document)]
    while waiting:
        depth, key, value = waiting.pop()
        yield depth, key, value
        if isinstance(value, dict):
            waiting += [(depth + 1, name, child) for name, child in value.items()]
        elif isinstance(value, list):
            waiting += [(depth + 1, None, child) for child in value]


def check_document(document: JsonObject | None, field: str) -> None:
    """Refuse a document that is too large, too deep or too much work.

    Raises:
        InvalidRequestError: It is.
    """
    if document is None:
        return
    for count, (depth, key, value) in enumerate(nodes(document)):
        if depth > MAX_DEPTH or count >= MAX_NODES:
            raise InvalidRequestError(
                f"'{field}' is at most {MAX_DEPTH} levels deep and has at most {MAX_NODES} values.",
                field,
            )
        if any(len(pattern) > MAX_PATTERN for pattern in _patterns(key, value)):
            raise InvalidRequestError(
                f"A pattern in '{field}' has at most {MAX_PATTERN} characters.", field
            )
        if key in REPEATS and isinstance(value, int | float) and value > MAX_REPEATS:
            raise InvalidRequestError(f"'{key}' in '{field}' is at most {MAX_REPEATS}.", field)
    if len(msgspec.json.encode(document)) > MAX_SCHEMA_BYTES:
        raise InvalidRequestError(f"'{field}' has at most {MAX_SCHEMA_BYTES} bytes.", field)


def has_pattern(document: JsonObject | None) -> bool:
    """Whether a schema holds a regular expression, and thereby could dictate an answer."""
    return document is not None and any(
        True for _, key, value in nodes(document) for _ in _patterns(key, value)
    )


def _patterns(key: str | None, value: object) -> Iterable[str]:
    if key == "pattern" and isinstance(value, str):
        return (value,)
    return value if key == "patternProperties" and isinstance(value, dict) else ()
