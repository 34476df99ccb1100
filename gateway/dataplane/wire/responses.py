"""`POST /v1/responses`, without state: nothing is stored, so nothing of before can be named."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.dataplane.wire import guides
from gateway.dataplane.wire.request import (
    MAX_MESSAGES,
    MAX_TOOLS,
    CallId,
    Count,
    DataUrl,
    Description,
    Effort,
    FunctionName,
    Label,
    Lever,
    Metadata,
    Penalty,
    Request,
    Seal,
    Temperature,
    TopLogprobs,
    Unit,
    is_given,
    refuse,
)
from gateway.errors import InvalidRequestError
from gateway.policy.capabilities import Capability

STATELESS = "responses are not stored here; send the whole conversation in 'input'"


class InputText(Struct, forbid_unknown_fields=True, tag_field="type", tag="input_text"):
    """A part of what the user says."""

    text: str


class InputImage(
    Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="input_image"
):
    """An image, within the request."""

    image_url: DataUrl
    detail: Literal["auto", "low", "high"] | None = None


class OutputText(
    Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="output_text"
):
    """A part of what the model said; clients send it back as they were given it."""

    text: str
    annotations: Annotated[list[Any], Meta(max_length=0)] | None = None
    logprobs: list[Any] | None = None

    def __post_init__(self) -> None:
        """Drop what the model would not read."""
        self.logprobs = None


class SummaryText(Struct, forbid_unknown_fields=True, tag_field="type", tag="summary_text"):
    """A part of a reasoning's summary."""

    text: str


class ReasoningText(Struct, forbid_unknown_fields=True, tag_field="type", tag="reasoning_text"):
    """A part of a reasoning."""

    text: str


class Item(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One item of the conversation; which fields it has depends on its type, checked below."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[InputText | InputImage | OutputText | ReasoningText] | None = None
    id: CallId | None = None
    status: Literal["completed", "in_progress", "incomplete"] | None = None
    phase: None = None
    caller: None = None
    async_: None = None
    is_async: None = msgspec.field(default=None, name="async")
    call_id: CallId | None = None
    name: FunctionName | None = None
    namespace: None = None
    arguments: str | None = None
    output: str | None = None
    summary: list[SummaryText] | None = None
    encrypted_content: None = None


NEEDS = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "reasoning": ("summary",),
}


class FunctionTool(
    Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="function"
):
    """A function that the model may call, and the caller runs; the only kind of tool."""

    name: FunctionName
    description: Description | None = None
    parameters: guides.JsonObject | None = None
    strict: bool | None = None


class NamedFunction(Struct, forbid_unknown_fields=True, tag_field="type", tag="function"):
    """The function that must be called."""

    name: FunctionName


class SchemaFormat(
    Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="json_schema"
):
    """A JSON document that a schema describes."""

    name: FunctionName
    schema: guides.JsonObject
    description: Description | None = None
    strict: bool | None = None


class TextConfig(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The form of the answer."""

    format: guides.TextFormat | guides.JsonObjectFormat | SchemaFormat | None = None


class Reasoning(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How much the model thinks first."""

    effort: Effort | None = None


class ObfuscationOption(Struct, forbid_unknown_fields=True):
    """What a stream of events carries beside them; nothing is padded here."""

    include_obfuscation: bool | None = None


class ResponsesRequest(Request, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/responses`."""

    KEPT_BACK: ClassVar[frozenset[str]] = frozenset(
        {
            "background",
            "conversation",
            "previous_response_id",
            "prompt_cache_key",
            "safety_identifier",
            "service_tier",
            "stream_options",
            "user",
        }
    )
    TOKEN_FIELDS: ClassVar[tuple[str, ...]] = ("max_output_tokens",)
    OPEN_END: ClassVar[str | None] = "max_output_tokens"

    input: str | Annotated[list[Item], Meta(min_length=1, max_length=MAX_MESSAGES)]
    instructions: str | None = None
    max_output_tokens: Count | UnsetType | None = UNSET
    temperature: Temperature | UnsetType | None = UNSET
    top_p: Unit | UnsetType | None = UNSET
    presence_penalty: Penalty | UnsetType | None = UNSET
    frequency_penalty: Penalty | UnsetType | None = UNSET
    top_logprobs: TopLogprobs | UnsetType | None = UNSET
    include: (
        Annotated[list[Literal["message.output_text.logprobs"]], Meta(max_length=8)]
        | UnsetType
        | None
    ) = UNSET
    text: TextConfig | UnsetType | None = UNSET
    tools: Annotated[list[FunctionTool], Meta(max_length=MAX_TOOLS)] | UnsetType | None = UNSET
    tool_choice: Literal["none", "auto", "required"] | NamedFunction | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    reasoning: Reasoning | UnsetType | None = UNSET
    truncation: Literal["auto", "disabled"] | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    stream: bool | None = False
    stream_options: ObfuscationOption | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    service_tier: Literal["auto", "default"] | None = None
    prompt_cache_key: Label | None = None
    safety_identifier: Label | None = None
    user: Label | None = None

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events."""
        return bool(self.stream)

    def levers(self) -> list[Lever]:
        """Return the fields in use that need a capability."""
        levers = super().levers()
        for field, schema in self._schemas():
            if guides.has_pattern(schema):
                levers.append(Lever(Capability.GUIDED_DECODING, field))
        if isinstance(self.input, list):
            last = self.input[-1]
            # An engine goes on with a last message that is not complete, whoever it is from.
            if (
                last.role == "assistant"
                or last.type == "reasoning"
                or last.status not in (None, "completed")
            ):
                levers.append(Lever(Capability.PREFILL, "input"))
        return levers

    def image_field(self) -> str | None:
        """Return the field that an image stands in; None without one."""
        parts = (
            part
            for item in (self.input if isinstance(self.input, list) else ())
            if isinstance(item.content, list)
            for part in item.content
        )
        return "input" if any(isinstance(part, InputImage) for part in parts) else None

    def check(self) -> None:
        """Refuse what needs a memory, and items that lack what their type needs."""
        refuse(self.store, "store", STATELESS)
        refuse(self.background, "background", STATELESS)
        refuse(self.previous_response_id, "previous_response_id", STATELESS)
        refuse(self.conversation, "conversation", STATELESS)
        guides.check_documents(self._schemas())
        if isinstance(self.input, list):
            for index, item in enumerate(self.input):
                _check_item(item, f"input[{index}]")

    def sealed(self, seal: Seal) -> dict[str, object]:
        """Return the gateway's own fields; the engine keeps nothing."""
        return super().sealed(seal) | {"stream": bool(self.stream), "store": False}

    @property
    def may_break_its_stream(self) -> bool:
        """Whether it has a schema: vLLM compiles one when a stream has begun."""
        return any(schema is not None for _, schema in self._schemas())

    def _schemas(self) -> Iterator[tuple[str, guides.JsonObject | None]]:
        if isinstance(self.text, TextConfig) and isinstance(self.text.format, SchemaFormat):
            yield "text", self.text.format.schema
        if isinstance(self.tools, list):
            for tool in self.tools:
                yield "tools", tool.parameters


def _check_item(item: Item, place: str) -> None:
    missing = [name for name in NEEDS[item.type or "message"] if not is_given(getattr(item, name))]
    if missing:
        param = f"{place}.{missing[0]}"
        raise InvalidRequestError(f"The field '{param}' is required.", param)
