"""`POST /v1/completions`: texts that go on, without a chat template."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from gateway.dataplane.wire.request import Lever, TopLogprobs
from gateway.dataplane.wire.sampling import Sampling
from gateway.errors import InvalidRequestError
from gateway.policy.capabilities import Capability

MAX_PROMPTS = 64
MAX_PROMPT_ITEMS = 32_768
"""Of texts, of the token ids of one prompt, or of lists of them; a list holds one kind."""

Prompt = (
    str | Annotated[list[str | int | list[int]], Meta(min_length=1, max_length=MAX_PROMPT_ITEMS)]
)


def check_prompt(prompt: Prompt, field: str) -> None:
    """Refuse lists of several kinds, and too many prompts.

    Raises:
        InvalidRequestError: They are.
    """
    if isinstance(prompt, str):
        return
    kinds = {type(item) for item in prompt}
    sizes = [len(item) for item in prompt if isinstance(item, list)]
    if (
        len(kinds) > 1
        or (kinds != {int} and len(prompt) > MAX_PROMPTS)
        or not all(0 < size <= MAX_PROMPT_ITEMS for size in sizes)
    ):
        raise InvalidRequestError(
            f"'{field}' is a text, the token ids of a text, or up to {MAX_PROMPTS} of either.",
            field,
        )


DEFAULT_TOKENS = 16
"""What an engine takes where a request names no bound."""


class CompletionRequest(Sampling, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/completions`."""

    prompt: Prompt
    echo: bool | UnsetType | None = UNSET
    logprobs: TopLogprobs | UnsetType | None = UNSET

    def levers(self) -> list[Lever]:
        """Return the fields in use that need a capability."""
        echo = [Lever(Capability.ECHO, "echo")] if self.echo is True else []
        return [*super().levers(), Lever(Capability.RAW_COMPLETIONS, "prompt"), *echo]

    def output_tokens(self, most: int) -> int:
        """Return how many tokens all answers to all prompts may have together."""
        most = min(most, DEFAULT_TOKENS)
        is_single = isinstance(self.prompt, str) or isinstance(self.prompt[0], int)
        return super().output_tokens(most) * (1 if is_single else len(self.prompt))

    def check(self) -> None:
        """Refuse prompts of several kinds."""
        super().check()
        check_prompt(self.prompt, "prompt")
