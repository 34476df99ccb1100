"""`POST /v1/messages` and its `count_tokens`: Anthropic's API."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.dataplane.wire import guides
from gateway.dataplane.wire.request import (
    MAX_MESSAGES,
    MAX_TOOLS,
    CallId,
    Count,
    Description,
    FunctionName,
    Label,
    Lever,
    Request,
    Seal,
    StopText,
    TopK,
    Unit,
)
from gateway.policy.capabilities import Capability


class CacheControl(Struct, forbid_unknown_fields=True, tag_field="type", tag="ephemeral"):
    """Accepted and not passed on: prompts are cached by tenant anyway."""

    ttl: Literal["5m", "1h"] | None = None


Cached = CacheControl | UnsetType | None


class Block(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"):
    """A part of a message."""

    cache_control: Cached = UNSET

    def __post_init__(self) -> None:
        """Forget the mark, which means nothing to an engine."""
        self.cache_control = UNSET


class TextBlock(Block, kw_only=True, tag="text"):
    """A text."""

    text: str
    citations: None = None


class ImageSource(Struct, forbid_unknown_fields=True, tag_field="type", tag="base64"):
    """An image's bytes; an address is not accepted, since the engine would fetch it."""

    media_type: Literal["image/gif", "image/jpeg", "image/png", "image/webp"]
    data: str


class ImageBlock(Block, kw_only=True, tag="image"):
    """An image."""

    source: ImageSource


class ToolUseBlock(Block, kw_only=True, tag="tool_use"):
    """What the model wants to be called."""

    id: CallId
    name: FunctionName
    input: guides.JsonObject
    caller: None = None
    toolset_name: None = None


class ToolResultBlock(Block, kw_only=True, tag="tool_result"):
    """What a called function returned."""

    tool_use_id: CallId
    content: str | list[TextBlock | ImageBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(Block, kw_only=True, tag="thinking"):
    """What the model thought."""

    thinking: str
    signature: str | None = None


class UserMessage(Struct, forbid_unknown_fields=True, tag_field="role", tag="user"):
    """What the user says."""

    content: str | list[TextBlock | ImageBlock | ToolResultBlock]


class AssistantMessage(Struct, forbid_unknown_fields=True, tag_field="role", tag="assistant"):
    """What the model said."""

    content: str | list[TextBlock | ToolUseBlock | ThinkingBlock]


class Tool(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A function that the model may call, and the caller runs."""

    name: FunctionName
    input_schema: guides.JsonObject
    description: Description | None = None
    strict: bool | None = None
    type: Literal["custom"] | None = None
    eager_input_streaming: bool | None = None
    cache_control: Cached = UNSET

    def __post_init__(self) -> None:
        """Forget what means nothing to an engine."""
        self.type = self.eager_input_streaming = None
        self.cache_control = UNSET


class ToolChoice(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Whether a tool must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: FunctionName | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(
    Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"
):
    """Whether and how the model thinks first."""

    display: Literal["summarized", "omitted"] | None = None

    def __post_init__(self) -> None:
        """Forget how it is to be shown: engines always show it whole."""
        self.display = None


class ThinkingOn(Thinking, kw_only=True, tag="enabled"):
    """Think, at most that much."""

    budget_tokens: Annotated[int, Meta(ge=1024, le=1_000_000)]


class ThinkingOff(Struct, forbid_unknown_fields=True, tag_field="type", tag="disabled"):
    """Answer at once."""


class ThinkingAdaptive(Thinking, kw_only=True, tag="adaptive"):
    """Think as long as the question needs."""


class OutputFormat(Struct, forbid_unknown_fields=True, tag_field="type", tag="json_schema"):
    """A JSON document that a schema describes."""

    schema: guides.JsonObject


class OutputConfig(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The form of the answer, and its effort."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class RequestMetadata(Struct, forbid_unknown_fields=True):
    """Whom the request is for; not passed on."""

    user_id: Label | None = None


class CountTokensRequest(Request, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages/count_tokens`."""

    KEPT_BACK: ClassVar[frozenset[str]] = frozenset({"cache_control"})

    messages: Annotated[
        list[UserMessage | AssistantMessage], Meta(min_length=1, max_length=MAX_MESSAGES)
    ]
    system: str | list[TextBlock] | UnsetType | None = UNSET
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | UnsetType | None = UNSET
    tool_choice: ToolChoice | UnsetType | None = UNSET
    thinking: ThinkingOn | ThinkingOff | ThinkingAdaptive | UnsetType | None = UNSET
    output_config: OutputConfig | UnsetType | None = UNSET
    cache_control: Cached = UNSET

    def levers(self) -> list[Lever]:
        """Return the fields in use that need a capability."""
        levers = super().levers()
        if isinstance(self.messages[-1], AssistantMessage):
            levers.append(Lever(Capability.PREFILL, "messages"))
        for field, schema in self._schemas():
            if guides.has_pattern(schema):
                levers.append(Lever(Capability.GUIDED_DECODING, field))
        return levers

    def image_field(self) -> str | None:
        """Return the field that an image stands in, also within a tool's result."""
        for message in self.messages:
            for block in message.content if isinstance(message.content, list) else ():
                inner = block.content if isinstance(block, ToolResultBlock) else None
                blocks = (block, *inner) if isinstance(inner, list) else (block,)
                if any(isinstance(each, ImageBlock) for each in blocks):
                    return "messages"
        return None

    def check(self) -> None:
        """Refuse documents that are too much work."""
        used = [
            ("messages", block.input)
            for message in self.messages
            if isinstance(message.content, list)
            for block in message.content
            if isinstance(block, ToolUseBlock)
        ]
        guides.check_documents([*self._schemas(), *used])

    def sealed(self, seal: Seal) -> dict[str, object]:
        """Return the gateway's own fields; counting uses no cache, and neither has a priority."""
        return {"model": seal.checkpoint}

    @property
    def may_break_its_stream(self) -> bool:
        """Whether it has a schema: vLLM compiles one when a stream has begun."""
        return any(schema is not None for _, schema in self._schemas())

    def _schemas(self) -> Iterator[tuple[str, guides.JsonObject | None]]:
        if isinstance(self.tools, list):
            for tool in self.tools:
                yield "tools", tool.input_schema
        if isinstance(self.output_config, OutputConfig) and self.output_config.format is not None:
            yield "output_config", self.output_config.format.schema


class MessagesRequest(CountTokensRequest, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages`."""

    KEPT_BACK: ClassVar[frozenset[str]] = CountTokensRequest.KEPT_BACK | {
        "metadata",
        "service_tier",
    }
    TOKEN_FIELDS: ClassVar[tuple[str, ...]] = ("max_tokens",)

    max_tokens: Count
    stop_sequences: Annotated[list[StopText], Meta(max_length=4)] | UnsetType | None = UNSET
    stream: bool | None = False
    temperature: Unit | UnsetType | None = UNSET
    top_p: Unit | UnsetType | None = UNSET
    top_k: TopK | UnsetType | None = UNSET
    metadata: RequestMetadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events."""
        return bool(self.stream)

    def sealed(self, seal: Seal) -> dict[str, object]:
        """Return the gateway's own fields; vLLM takes no priority here."""
        own = super().sealed(seal)
        return own | {"cache_salt": seal.cache_salt, "stream": bool(self.stream)}
