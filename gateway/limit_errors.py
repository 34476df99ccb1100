"""What no waiting brings below a limit. A leaf of the tree in `errors`, with its HTTP row."""

from gateway.errors import AirlockError


class TooManyTokensError(AirlockError):
    """One request may need more tokens than a whole limit has: it will never be served as it is.

    Attributes:
        what: Of which limit.
    """

    def __init__(self, what: str, limit: int, tokens: int) -> None:
        super().__init__(
            f"Request too large: it may need {tokens} tokens, and the limit is {limit} {what}. Its "
            "input, or the bound of its answer, must be reduced."
        )
        self.what = what
