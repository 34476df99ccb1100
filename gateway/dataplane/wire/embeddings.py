"""`POST /v1/embeddings`: for checkpoints whose engine embeds texts."""

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from gateway.dataplane.wire.completions import Prompt, check_prompt
from gateway.dataplane.wire.request import Label, Request


class EmbeddingRequest(Request, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/embeddings`."""

    KEPT_BACK: ClassVar[frozenset[str]] = frozenset({"user"})

    input: Prompt
    encoding_format: Literal["float", "base64"] | UnsetType | None = UNSET
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | UnsetType | None = UNSET
    user: Label | None = None

    def check(self) -> None:
        """Refuse inputs of several kinds."""
        check_prompt(self.input, "input")
