"""The body that an engine gets: the caller's fields and the gateway's own."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct

from gateway.dataplane.wire.request import Request, Seal, reader

SAID = frozenset({"model", "instructions", "system", "tools", "messages", "input", "prompt"})
"""Come first: by a body's beginning, replicas know a prompt's."""
OURS = ("cache_salt", "priority", "store", "stream", "stream_options")
"""Fields that the gateway fills in, beside those that callers can fill in, too."""
ENCODER = msgspec.json.Encoder()


class _Shape(NamedTuple):
    """How one kind of request becomes a body: field by field it costs twice as much."""

    values: Callable[[Request], tuple[object, ...]]
    """Of what is passed on."""
    body: type[Struct]
    """What is passed on, in that order, and what the gateway puts in."""


@cache
def _shape(kind: type[Request]) -> _Shape:
    passed_on = sorted(
        (name for name in kind.__struct_fields__ if name not in kind.KEPT_BACK),
        key=lambda name: name not in SAID,
    )
    fields = (*passed_on, *(name for name in OURS if name not in passed_on))
    body = msgspec.defstruct(kind.__name__, [(name, Any, UNSET) for name in fields])
    return _Shape(reader(passed_on), body)


def encode(request: Request, seal: Seal) -> bytes:
    """Return the body that the engine gets; what is UNSET is left out."""
    shape = _shape(type(request))
    values = shape.values(request)
    if None in values:
        # To the engine, null is a field's absence; to some of its fields it is an error.
        values = tuple([UNSET if value is None else value for value in values])
    body = shape.body(*values)
    for name, value in request.sealed(seal).items():
        setattr(body, name, value)
    return ENCODER.encode(body)
