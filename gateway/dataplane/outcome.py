"""What became of one request: for its metrics and for what it costs."""

from msgspec import Struct, field

from gateway.dataplane.answers import Usage
from gateway.errors import AirlockError


class Outcome(Struct):
    """What became of an answer; filled in as it goes."""

    status: int | None = None
    """None until the caller has been sent one."""
    ready_at: float | None = None
    """When all was done that comes before the engines' queue."""
    asked_at: float | None = None
    """When an engine was given the request, which it has not turned away."""
    first_byte_at: float | None = None
    usage: Usage = field(default_factory=Usage)
    """The engine's count; zero when the answer ended before it."""
    has_spoken: bool = False
    """Whether the model has said anything in a stream."""
    events: int = 0
    """How many events of a stream the caller was sent."""
    error: AirlockError | None = None
    was_left: bool = False
    """Whether its caller left before the end, or was made to, for whatever reason."""
