"""What is wrong with requests that come twice, or that change what was changed meanwhile.

    RequestError
    ├── KeyInFlightError        a request with this idempotency key is being done
    ├── KeyReusedError          the idempotency key came with another request before
    ├── ChangedMeanwhileError   If-Match names another version
    └── MatchRequiredError      a change that needs If-Match came without

The rest of the tree is in `errors`.
"""

from gateway.errors import RequestError


class KeyInFlightError(RequestError):
    """The same request, with the same idempotency key, is being done now."""

    def __init__(self) -> None:
        super().__init__("This request is being done; ask again for its answer in a moment.")


class KeyReusedError(RequestError):
    """An idempotency key came with another request before."""

    def __init__(self) -> None:
        super().__init__("This idempotency key came with another request before; make a new one.")


class ChangedMeanwhileError(RequestError):
    """What is to be changed is not what the caller has seen."""

    def __init__(self) -> None:
        super().__init__("It was changed meanwhile; look at it again.")


class MatchRequiredError(RequestError):
    """What replaces everything must say what it replaces."""

    def __init__(self) -> None:
        super().__init__("This needs the header If-Match, with the ETag of what you have seen.")
