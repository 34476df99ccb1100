"""How tokens are drawn, in the words that chat and raw completions share."""

from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, UnsetType

from gateway.dataplane.wire.request import (
    Count,
    Label,
    Lever,
    Penalty,
    Request,
    Seal,
    StopText,
    StreamOptions,
    Temperature,
    TopK,
    TopLogprobs,
    Unit,
    check_seed,
)
from gateway.errors import InvalidRequestError
from gateway.policy.capabilities import Capability

Choices = Annotated[int, Meta(ge=1, le=8)]
Stop = StopText | Annotated[list[StopText], Meta(min_length=1, max_length=4)]
LogitBias = Annotated[
    dict[
        Annotated[str, Meta(pattern="^[0-9]{1,7}$")],
        Annotated[float, Meta(ge=-100, le=100)],
    ],
    Meta(max_length=1024),
]
TokenIds = Annotated[
    list[Annotated[int, Meta(ge=0, le=2**31 - 1)]], Meta(min_length=1, max_length=1024)
]

USAGE_ALL_ALONG = {"include_usage": True, "continuous_usage_stats": True}


class Sampling(Request, kw_only=True, forbid_unknown_fields=True):
    """What both kinds of request have in common."""

    KEPT_BACK: ClassVar[frozenset[str]] = frozenset({"seed", "stream_options", "user"})
    TOKEN_FIELDS: ClassVar[tuple[str, ...]] = ("max_tokens",)
    LEVERS: ClassVar[tuple[Lever, ...]] = (
        Lever(Capability.ALLOWED_IDS, "allowed_token_ids"),
        Lever(Capability.LOGIT_BIAS, "logit_bias"),
        Lever(Capability.NAMED_LOGPROBS, "logprob_token_ids"),
        Lever(Capability.PROMPT_LOGPROBS, "prompt_logprobs"),
    )

    max_tokens: Count | UnsetType | None = UNSET
    temperature: Temperature | UnsetType | None = UNSET
    top_p: Unit | UnsetType | None = UNSET
    top_k: TopK | UnsetType | None = UNSET
    min_p: Unit | UnsetType | None = UNSET
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | UnsetType | None = UNSET
    n: Choices | UnsetType | None = UNSET
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    stop: Stop | UnsetType | None = UNSET
    presence_penalty: Penalty | UnsetType | None = UNSET
    frequency_penalty: Penalty | UnsetType | None = UNSET
    user: Label | None = None
    seed: int | None = None
    allowed_token_ids: TokenIds | UnsetType | None = UNSET
    logit_bias: LogitBias | UnsetType | None = UNSET
    logprob_token_ids: TokenIds | UnsetType | None = UNSET
    prompt_logprobs: TopLogprobs | UnsetType | None = UNSET

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events."""
        return bool(self.stream)

    @property
    def forwards_usage(self) -> bool:
        """Whether the caller asked for the usage at a stream's end."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def choices(self) -> int:
        """How many answers each prompt gets."""
        return self.n if isinstance(self.n, int) else 1

    def check(self) -> None:
        """Refuse a seed that would be used, and options of a stream that there is not."""
        if self.seed is not None:
            check_seed(self.seed, self.temperature)
        if self.stream_options is not None and not self.stream:
            raise InvalidRequestError("'stream_options' needs 'stream'.", "stream_options")

    def output_tokens(self, most: int) -> int:
        """Return how many tokens all answers may have together."""
        return super().output_tokens(most) * self.choices

    def sealed(self, seal: Seal) -> dict[str, object]:
        """Return the gateway's own fields; it asks for the usage in every event of a stream."""
        own = super().sealed(seal)
        own["stream"] = bool(self.stream)
        if self.stream:
            own["stream_options"] = USAGE_ALL_ALONG
        return own
