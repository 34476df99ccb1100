"""What every body shares: parsing, its errors, and what the gateway puts in itself."""

import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct

from gateway.errors import (
    InvalidJsonError,
    InvalidRequestError,
    RequestError,
    UnsupportedParameterError,
)
from gateway.policy.capabilities import Capability

MAX_MESSAGES = 512
MAX_TOOLS = 128

Unit = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Count = Annotated[int, Meta(ge=1)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
TopK = Annotated[int, Meta(ge=-1, le=1000)]
StopText = Annotated[str, Meta(min_length=1, max_length=200)]
ModelName = Annotated[str, Meta(min_length=1, max_length=200)]
Label = Annotated[str, Meta(max_length=512)]
CallId = Annotated[str, Meta(min_length=1, max_length=128)]
FunctionName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
Description = Annotated[str, Meta(max_length=8192)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
DataUrl = Annotated[str, Meta(pattern=r"^data:image/(png|jpeg|gif|webp);base64,")]
"""The only address of an image that is accepted, so that an engine never fetches anything."""


class Seal(Struct, frozen=True):
    """What the gateway puts into every body itself."""

    checkpoint: str
    """The digest that must answer; an engine with other weights refuses it."""
    cache_salt: str
    """Keeps the prefix caches of tenants and tiers apart."""
    priority: int = 0
    """As engines count: the lower, the sooner. 0 is left out: not every engine takes another."""
    most_tokens: int | None = None
    """For an answer whose caller sets no bound; None where the model's own is as tight."""


class Lever(NamedTuple):
    """A field that needs a capability."""

    capability: Capability
    field: str


class Request(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of any endpoint."""

    KEPT_BACK: ClassVar[frozenset[str]] = frozenset()
    """Fields that are accepted and not passed on."""
    TOKEN_FIELDS: ClassVar[tuple[str, ...]] = ()
    """Fields that say how long the answer may be."""
    OPEN_END: ClassVar[str | None] = None
    """That of them without which an answer goes on as long as the model can."""
    LEVERS: ClassVar[tuple[Lever, ...]] = ()
    """Fields whose mere presence needs a capability."""

    model: ModelName

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events."""
        return False

    @property
    def forwards_usage(self) -> bool:
        """Whether the caller asked for the usage at a stream's end."""
        return True

    @property
    def choices(self) -> int:
        """How many answers each prompt gets."""
        return 1

    @property
    def may_break_its_stream(self) -> bool:
        """Whether an engine may find it wrong in a stream that has begun, and not say so."""
        return False

    def levers(self) -> list[Lever]:
        """Return the fields in use that need a capability."""
        levers = _levers(type(self))
        given = levers.values(self)
        if given == levers.none:  # Nearly always.
            return []
        return [
            lever
            for lever, value in zip(self.LEVERS, given, strict=True)
            if value is not UNSET and value is not None
        ]

    def check(self) -> None:
        """Refuse what a type cannot say.

        Raises:
            RequestError: Fields that do not fit together, or are too much work.
        """

    def image_field(self) -> str | None:
        """Return the field that an image stands in; None without one."""
        return None

    def output_tokens(self, most: int) -> int:
        """Return how many tokens all answers may have together, when none has more than `most`."""
        return self._longest() or most if self.TOKEN_FIELDS else 0

    def _longest(self) -> int:
        longest = 0
        for field in self.TOKEN_FIELDS:
            number = getattr(self, field)
            if isinstance(number, int) and number > longest:
                longest = number
        return longest

    def sealed(self, seal: Seal) -> dict[str, object]:
        """Return the fields that are the gateway's own."""
        own: dict[str, object] = {"model": seal.checkpoint, "cache_salt": seal.cache_salt}
        if seal.priority:
            own["priority"] = seal.priority
        if seal.most_tokens is not None and self.OPEN_END is not None and not self._longest():
            own[self.OPEN_END] = seal.most_tokens
        return own


class _Levers(NamedTuple):
    """How the levers of one kind of request are read together: one by one costs ten times more."""

    values: Callable[[Request], tuple[object, ...]]
    none: tuple[object, ...]
    """What it returns when none is given."""


@cache
def _levers(kind: type[Request]) -> _Levers:
    names = [lever.field for lever in kind.LEVERS]
    return _Levers(reader(names), (UNSET,) * len(names))


def reader(names: Sequence[str]) -> Callable[[Request], tuple[object, ...]]:
    """Return what reads some fields of a request at once."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda request: tuple(getattr(request, name) for name in names)


class StreamOptions(Struct, forbid_unknown_fields=True):
    """What a stream carries beside its text."""

    include_usage: bool | None = False
    include_obfuscation: bool | None = None
    """Accepted; nothing is padded here."""


def is_given(value: object) -> bool:
    """Whether a caller gave a field a value."""
    return value is not UNSET and value is not None


def refuse(value: object, field: str, why: str) -> None:
    """Refuse a known field's value, with a reason that helps.

    Raises:
        UnsupportedParameterError: The field has a value other than null or false.
    """
    if is_given(value) and value is not False:
        raise UnsupportedParameterError(field, why)


def check_seed(seed: object, temperature: object) -> None:
    """Refuse a seed wherever it would be used.

    One request with it ends vLLM's CPU engine. Greedy decoding draws nothing, so a seed changes
    nothing there: it is accepted, for evaluation harnesses, and not passed on.
    """
    if is_given(seed) and temperature != 0:
        raise UnsupportedParameterError("seed", "it is accepted with temperature 0 only")


Form = TypeVar("Form")
"""What a body is parsed into."""
UNKNOWN_FIELD = re.compile(r"unknown field `(?P<field>[^`]*)`")
PLACE = re.compile(r" - at `\$?\.?(?P<path>[^`]*)`$")


def decode(body: bytes, decoder: "msgspec.json.Decoder[Form]") -> Form:
    """Parse a body once into its type.

    Raises:
        InvalidJsonError: It is no JSON in UTF-8, or has a key twice.
        UnsupportedParameterError: It has a field that is not declared.
        InvalidRequestError: A field is missing, or has the wrong type or value.
    """
    try:
        request = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJsonError("The body is not valid JSON in UTF-8.") from error
    _refuse_duplicates(body)
    return request


class _DuplicateKeyError(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _DuplicateKeyError


_SCANNER = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=len, parse_float=len)


def _refuse_duplicates(body: bytes) -> None:
    """Refuse a key that comes twice: two readers could take two things from it."""
    try:
        # The body has been parsed: it is UTF-8, and no deeper than the parser before goes.
        # What it begins and ends with has been looked at, too.
        _SCANNER.raw_decode(body.decode().lstrip())
    except _DuplicateKeyError as error:
        raise InvalidJsonError("An object in the body has the same key twice.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidJsonError("The body is not valid JSON in UTF-8.") from error


NO_CAPABILITIES: frozenset[Capability] = frozenset()


def check_limits(
    request: Request, *, allowed: frozenset[Capability], max_output_tokens: int
) -> frozenset[Capability]:
    """Refuse what a tier may not use, or nobody may ask for; return the capabilities in use.

    Raises:
        UnsupportedParameterError: A field that the tier may not use.
        InvalidRequestError: More tokens than are served, or fields that do not fit.
    """
    request.check()  # First: to look for levers in what is too large would be work as well.
    levers = request.levers()
    for capability, field in levers:
        if capability not in allowed:
            raise UnsupportedParameterError(
                field, f"your access tier has no capability '{capability}'"
            )
    for field in request.TOKEN_FIELDS:
        value = getattr(request, field)
        if isinstance(value, int) and value > max_output_tokens:
            raise InvalidRequestError(f"'{field}' must be at most {max_output_tokens}.", field)
    return frozenset([lever.capability for lever in levers]) if levers else NO_CAPABILITIES


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
    if missing:
        return InvalidRequestError(f"The field '{param}' is required.", param)
    return InvalidRequestError(
        PLACE.sub("", message)[:500] + (f" at '{param}'." if param else "."), param
    )
