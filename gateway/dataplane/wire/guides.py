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
MAX_VALUES = 8_192
"""Of all schemas and arguments of a request: looking at one takes a microsecond of everybody's."""
MAX_PATTERN = 512
MAX_REPEATS = 4_096
MAX_COUNTED_WORK = 131_072
"""xgrammar takes some 2 µs for each, and memory: 2,000 properties, all of them counted, stop an
engine's server for 20 s."""
REPEATS = frozenset(
    {"maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"}
)

JsonObject = dict[str, Any]
"""A document of the caller's own form; `check_documents` bounds it."""


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


def check_documents(given: Iterable[tuple[str, JsonObject | None]]) -> None:
    """Refuse a request's documents, each with its field, that are too much work, or are together.

    Raises:
        InvalidRequestError: They are.
    """
    values, work = 0, 0.0
    for field, document in given:
        if document is None:
            continue
        _check_size(document, field)
        for depth, key, value in nodes(document):
            values += 1
            if depth > MAX_DEPTH:
                message = f"'{field}' is at most {MAX_DEPTH} levels deep."
                raise InvalidRequestError(message, field)
            if values > MAX_VALUES:
                message = f"Schemas and arguments have at most {MAX_VALUES} values in all."
                raise InvalidRequestError(message, field)
            _check_value(key, value, field)
            work += _counted_work(value)
            if work > MAX_COUNTED_WORK:
                message = (
                    f"'minProperties' and 'maxProperties' in '{field}' are too much work "
                    f"beside so many 'properties': their square times the bound is at most "
                    f"{MAX_COUNTED_WORK} in all."
                )
                raise InvalidRequestError(message, field)


def _check_size(document: JsonObject, field: str) -> None:
    try:
        size = len(msgspec.json.encode(document))
    except RecursionError:
        message = f"'{field}' is at most {MAX_DEPTH} levels deep."
        raise InvalidRequestError(message, field) from None
    if size > MAX_SCHEMA_BYTES:
        raise InvalidRequestError(f"'{field}' has at most {MAX_SCHEMA_BYTES} bytes.", field)


def _check_value(key: str | None, value: object, field: str) -> None:
    if any(len(pattern) > MAX_PATTERN for pattern in _patterns(key, value)):
        raise InvalidRequestError(
            f"A pattern in '{field}' has at most {MAX_PATTERN} characters.", field
        )
    if key in REPEATS and isinstance(value, int | float) and value > MAX_REPEATS:
        raise InvalidRequestError(f"'{key}' in '{field}' must be at most {MAX_REPEATS}.", field)


def _counted_work(value: object) -> float:
    """What it takes to compile an object whose properties are counted, in their steps."""
    if not isinstance(value, dict) or not isinstance(named := value.get("properties"), dict):
        return 0
    bounds = (value.get("minProperties"), value.get("maxProperties"))
    return len(named) ** 2 * max((b for b in bounds if isinstance(b, int | float)), default=0)


def has_pattern(document: JsonObject | None) -> bool:
    """Whether a schema holds a regular expression, and thereby could dictate an answer."""
    return document is not None and any(
        True for _, key, value in nodes(document) for _ in _patterns(key, value)
    )


def _patterns(key: str | None, value: object) -> Iterable[str]:
    if key == "pattern" and isinstance(value, str):
        return (value,)
    return value if key == "patternProperties" and isinstance(value, dict) else ()
