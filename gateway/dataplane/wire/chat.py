"""`POST /v1/chat/completions`: messages, tools, the form of the answer."""

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.dataplane.wire import guides
from gateway.dataplane.wire.request import (
    MAX_MESSAGES,
    MAX_TOOLS,
    CallId,
    DataUrl,
    Effort,
    FunctionName,
    Lever,
    Metadata,
    TopLogprobs,
    is_given,
    refuse,
)
from gateway.dataplane.wire.sampling import Sampling
from gateway.errors import InvalidRequestError
from gateway.policy.capabilities import Capability

Name = Annotated[str, Meta(max_length=64)]


class TextPart(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A part of a message: a text."""

    text: str


class ImageUrl(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An image, within the request."""

    url: DataUrl
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Struct, forbid_unknown_fields=True, tag_field="type", tag="image_url"):
    """A part of a message: an image; an engine whose model has no eyes refuses it."""

    image_url: ImageUrl


class FunctionCall(Struct, forbid_unknown_fields=True):
    """What the model wants to be called."""

    name: FunctionName
    arguments: str


class ToolCall(Struct, forbid_unknown_fields=True):
    """One call."""

    id: CallId
    function: FunctionCall
    type: Literal["function"] = "function"


class SystemMessage(
    Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="role", tag="system"
):
    """What holds for the whole conversation."""

    content: str | list[TextPart]
    name: Name | None = None


class DeveloperMessage(SystemMessage, tag_field="role", tag="developer"):
    """As a system message."""


class UserMessage(
    Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="role", tag="user"
):
    """What the user says."""

    content: str | list[TextPart | ImagePart]
    name: Name | None = None


class AssistantMessage(
    Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="role", tag="assistant"
):
    """What the model said; clients send back every field that they were given, also empty ones."""

    content: str | list[TextPart] | None = None
    name: Name | None = None
    tool_calls: Annotated[list[ToolCall], Meta(max_length=MAX_TOOLS)] | None = None
    reasoning: str | None = None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None


class ToolMessage(
    Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="role", tag="tool"
):
    """What a called function returned."""

    content: str | list[TextPart]
    tool_call_id: CallId


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class ChatRequest(Sampling, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/chat/completions`."""

    KEPT_BACK: ClassVar[frozenset[str]] = Sampling.KEPT_BACK | {
        "metadata",
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "store",
    }
    TOKEN_FIELDS: ClassVar[tuple[str, ...]] = ("max_tokens", "max_completion_tokens")
    OPEN_END: ClassVar[str | None] = "max_completion_tokens"
    LEVERS: ClassVar[tuple[Lever, ...]] = (
        *Sampling.LEVERS,
        Lever(Capability.GUIDED_DECODING, "structured_outputs"),
        Lever(Capability.PREFILL, "continue_final_message"),
        Lever(Capability.PREFILL, "add_generation_prompt"),
    )

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | UnsetType | None = UNSET
    logprobs: bool | UnsetType | None = UNSET
    top_logprobs: TopLogprobs | UnsetType | None = UNSET
    tools: (
        Annotated[list[guides.Tool], Meta(min_length=1, max_length=MAX_TOOLS)] | UnsetType | None
    ) = UNSET
    tool_choice: Literal["none", "auto", "required"] | guides.NamedTool | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    response_format: guides.ResponseFormat | UnsetType | None = UNSET
    structured_outputs: guides.StructuredOutputs | UnsetType | None = UNSET
    reasoning_effort: Effort | UnsetType | None = UNSET
    continue_final_message: bool | UnsetType | None = UNSET
    add_generation_prompt: bool | UnsetType | None = UNSET
    metadata: Metadata | None = None
    prompt_cache_key: Annotated[str, Meta(max_length=512)] | None = None
    safety_identifier: Annotated[str, Meta(max_length=512)] | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: bool | None = None

    def levers(self) -> list[Lever]:
        """Return the fields in use that need a capability."""
        levers = super().levers()
        for _, schema in self._schemas():
            if guides.has_pattern(schema):
                levers.append(Lever(Capability.GUIDED_DECODING, "response_format"))
        if isinstance(self.messages[-1], AssistantMessage):
            levers.append(Lever(Capability.PREFILL, "messages"))
        return levers

    def image_field(self) -> str | None:
        """Return the field that an image stands in; None without one."""
        for message in self.messages:
            if isinstance(message, UserMessage) and isinstance(message.content, list):
                for part in message.content:
                    if isinstance(part, ImagePart):
                        return "messages"
        return None

    def check(self) -> None:
        """Refuse what is stored, and schemas that are too much work."""
        super().check()
        if self.store is not None:
            refuse(self.store, "store", "nothing is stored here")
        guides.check_documents(self._schemas())
        if is_given(self.tool_choice) and self.tool_choice != "none" and not is_given(self.tools):
            raise InvalidRequestError("'tool_choice' needs 'tools'.", "tool_choice")

    def _schemas(self) -> list[tuple[str, guides.JsonObject | None]]:
        if self.response_format is self.structured_outputs is self.tools is UNSET:
            return []
        schemas: list[tuple[str, guides.JsonObject | None]] = []
        if isinstance(self.response_format, guides.JsonSchemaFormat):
            schemas.append(("response_format", self.response_format.json_schema.schema))
        if isinstance(self.structured_outputs, guides.StructuredOutputs):
            schemas.append(("structured_outputs", self.structured_outputs.json))
        if isinstance(self.tools, list):
            schemas += [("tools", tool.function.parameters) for tool in self.tools]
        return schemas
