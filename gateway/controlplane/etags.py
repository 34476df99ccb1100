"""ETags: what a client has seen, so that nobody's change is overwritten unseen (RFC 9110, 13.1)."""

import hashlib
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel

from gateway.precondition_errors import ChangedMeanwhileError, MatchRequiredError

IfMatch = Annotated[
    str | None, Header(max_length=1000, description="The ETag of what is to be changed, or `*`.")
]


def etag(shown: BaseModel) -> str:
    """Return the ETag of a row as it is shown."""
    return f'"{hashlib.sha256(shown.model_dump_json().encode()).hexdigest()[:32]}"'


def check_match(if_match: str | None, shown: BaseModel, *, is_required: bool = False) -> None:
    """Raise unless the client has seen what is there now.

    Args:
        if_match: What came with the request.
        shown: The row as it would be shown; locked, or it may change after this.
        is_required: Whether a change without the header is refused.

    Raises:
        MatchRequiredError: It did not come, and is required.
        ChangedMeanwhileError: It names another version.
    """
    if if_match is None:
        if is_required:
            raise MatchRequiredError
        return
    named = [part.strip() for part in if_match.split(",")]
    # A weak tag matches nothing here: a change needs to have seen every byte.
    if "*" not in named and etag(shown) not in named:
        raise ChangedMeanwhileError
