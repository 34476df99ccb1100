"""What can go wrong in the gateway, without a word of HTTP.

    AirlockError
    ├── ConfigurationError
    ├── RequestError               the caller's request cannot be served as it is
    │   ├── InvalidJsonError
    │   ├── InvalidRequestError
    │   ├── UnsupportedParameterError
    │   ├── RequestTooLargeError
    │   ├── RequestTimeoutError
    │   ├── UnsupportedMediaTypeError
    │   ├── EndpointNotServedError  the model's engine has no such endpoint
    │   ├── NotFoundError
    │   │   └── UnknownModelError
    │   ├── MethodNotAllowedError
    │   └── ConflictError
    ├── AuthenticationError        who is calling is not proven
    │   ├── MissingKeyError
    │   ├── InvalidKeyError
    │   ├── ExpiredKeyError
    │   └── RevokedKeyError
    ├── NotPermittedError          who is calling may not take this step of the workflow
    ├── GrantRequiredError         the caller's grants do not cover the checkpoint
    ├── GrantRevokedError          they did, when the stream began
    ├── RateLimitedError
    ├── QuotaExceededError         the day's tokens are used up
    ├── ReleaseWithdrawnError      the alias's release expired, was revoked or does not count
    ├── EngineUnavailableError     no verified engine serves the checkpoint now
    ├── EngineFailedError          the engine answered with a fault
    ├── EngineTimeoutError
    ├── RequestHeldBackError       an engine died while it answered this very request
    ├── OverloadedError            too many requests wait already
    ├── NotReadyError              the gateway's own state is too old or missing
    ├── AuditUnavailableError      the audit log cannot be written, so nothing may happen
    ├── StorageUnavailableError    the folder of files cannot be read or written
    ├── AuditFileError             an export, receipt or checkpoint cannot be understood
    └── InternalError              a defect

Leaves of single subjects are in `identity_errors`, `precondition_errors`, `contents_errors` and
`limit_errors`; `http_errors` has one row for each leaf.
"""


class AirlockError(Exception):
    """Root of the tree; `exit_code` is the status of a command that ends with it."""

    exit_code = 2


class ConfigurationError(AirlockError):
    """A setting is missing or does not fit; the sentence says which and what to do."""


class RequestError(AirlockError):
    """The caller's request cannot be served as it is.

    Attributes:
        param: The field that is at fault, when there is one.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidJsonError(RequestError):
    """The body is no JSON object in UTF-8."""


class InvalidRequestError(RequestError):
    """A field has the wrong type or value."""


class UnsupportedParameterError(RequestError):
    """A field that is not on the allow-list, or that the caller's tier may not use."""

    def __init__(self, param: str, why: str = "this request has no such field") -> None:
        super().__init__(f"Unsupported parameter: '{param}': {why}.", param)


class RequestTooLargeError(RequestError):
    """The body is longer than is accepted."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request body is longer than {limit_bytes} bytes.")


class RequestTimeoutError(RequestError):
    """The body did not come in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request's body did not arrive within {seconds:.0f} seconds.")


class UnsupportedMediaTypeError(RequestError):
    """The body is in a form that is not read."""


class EndpointNotServedError(RequestError):
    """The model is there, but its engine does not do this."""

    def __init__(self, path: str) -> None:
        super().__init__(f"The model does not serve {path}.", "model")


class NotFoundError(RequestError):
    """There is nothing of that name."""


class UnknownModelError(NotFoundError):
    """No family or alias of that name is served."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The model '{name}' does not exist. See GET /v1/models.", "model")


class MethodNotAllowedError(RequestError):
    """The path exists, but not with this method.

    Attributes:
        allowed: The method that it takes.
    """

    def __init__(self, allowed: str) -> None:
        super().__init__(f"Use {allowed} here.")
        self.allowed = allowed


class ConflictError(RequestError):
    """What is to be created exists already, or was changed meanwhile."""


class AuthenticationError(AirlockError):
    """Who is calling is not proven."""


class MissingKeyError(AuthenticationError):
    """No key came with the request."""

    def __init__(self) -> None:
        super().__init__("Send an API key in the header 'Authorization: Bearer …'.")


class InvalidKeyError(AuthenticationError):
    """The key is not one of ours; the sentence is the same whatever is wrong with it."""

    def __init__(self) -> None:
        super().__init__("The API key is not valid.")


class ExpiredKeyError(AuthenticationError):
    """The key was good until it expired."""

    def __init__(self) -> None:
        super().__init__("The API key has expired; ask for a new one.")


class RevokedKeyError(AuthenticationError):
    """The key was revoked, or its owner is suspended."""

    def __init__(self) -> None:
        super().__init__("The API key was revoked.")


class NotPermittedError(AirlockError):
    """Who is calling may not take this step: not their role, or a conflict of interest."""


class GrantRequiredError(AirlockError):
    """The caller's grants do not cover the checkpoint; never answered by another one instead."""

    def __init__(self, name: str, missing: tuple[str, ...]) -> None:
        super().__init__(
            f"'{name}' needs a grant for: {', '.join(missing)}. Apply for one. GET /v1/models "
            "lists what you may ask for now."
        )


class GrantRevokedError(AirlockError):
    """The grant that a running stream rests on has ended."""

    def __init__(self) -> None:
        super().__init__("The grant or key that this answer rests on has ended.")


class RateLimitedError(AirlockError):
    """The caller, or its organisation, has used up what it may use for now.

    Attributes:
        what: Of which limit.
        retry_after_seconds: When the next one will be served.
    """

    def __init__(self, what: str, limit: int, retry_after_seconds: float) -> None:
        super().__init__(f"Rate limit reached: {limit} {what}.")
        self.what = what
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds


class QuotaExceededError(AirlockError):
    """The caller, or its organisation, has used up the day's tokens.

    Attributes:
        what: Of which limit.
        retry_after_seconds: Until the next day, in UTC.
    """

    what = "tokens per day"

    def __init__(self, limit: int, retry_after_seconds: float) -> None:
        super().__init__(f"The budget of {limit} tokens per day is used up.")
        self.retry_after_seconds = retry_after_seconds


class ReleaseWithdrawnError(AirlockError):
    """What the alias points to may not be served (any more); no other checkpoint steps in."""

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' has no valid release now; its operators must renew it.")


class EngineUnavailableError(AirlockError):
    """No verified engine serves the checkpoint now; no other checkpoint takes its place."""

    def __init__(self) -> None:
        super().__init__("The model is not available right now; try again.")


class EngineFailedError(AirlockError):
    """The engine answered with a fault, or with something that is no answer."""

    def __init__(self) -> None:
        super().__init__("The engine failed to answer this request.")


class EngineTimeoutError(AirlockError):
    """The engine did not answer in time."""

    def __init__(self) -> None:
        super().__init__("The engine did not answer in time.")


class RequestHeldBackError(AirlockError):
    """An engine died while it answered this request, which is therefore not sent to another.

    Attributes:
        retry_after_seconds: When it is let pass again.
    """

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(
            "The engine that answered this request died under it; the same request is not "
            f"accepted for {retry_after_seconds:.0f} seconds. Others are."
        )
        self.retry_after_seconds = retry_after_seconds


class OverloadedError(AirlockError):
    """More requests wait for the model's engines than may, or this one has waited too long.

    Attributes:
        retry_after_seconds: When to try again.
    """

    def __init__(self, retry_after_seconds: float = 2.0) -> None:
        super().__init__("The model is busy; try again later.")
        self.retry_after_seconds = retry_after_seconds


class NotReadyError(AirlockError):
    """The gateway cannot tell who may use what: its state is too old, or the database is down."""

    def __init__(self, why: str = "The gateway's state is not up to date") -> None:
        super().__init__(f"{why}; try again in a moment.")


class AuditUnavailableError(AirlockError):
    """The audit log did not take an entry, and what it was to record must not happen without."""

    def __init__(self) -> None:
        super().__init__("The audit log cannot be written right now; try again.")


class StorageUnavailableError(AirlockError):
    """The folder of files cannot be read or written: the disk is full, or is not there."""

    def __init__(self) -> None:
        super().__init__("Files cannot be read or written right now; try again.")


class AuditFileError(AirlockError):
    """An export, a receipt, a checkpoint or a key of the audit log cannot be understood."""


class InternalError(AirlockError):
    """A defect; the log has it under the request's id."""

    def __init__(self) -> None:
        super().__init__("An internal error occurred.")
