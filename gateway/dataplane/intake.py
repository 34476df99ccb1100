"""What a request is before its body is read: in whose API, with which key, in which form."""

from gateway.dataplane.endpoints import MESSAGES_PATH
from gateway.dataplane.http import Scope, header
from gateway.dataplane.listing import MODELS_PATH
from gateway.errors import AirlockError, InvalidRequestError, UnsupportedMediaTypeError
from gateway.http_errors import anthropic_error_body, error_body

JSON = "application/json"
OPENAI_VERSION = "2020-10-01"
"""What OpenAI's own servers send; some clients log it."""


def is_anthropic(path: str) -> bool:
    """Whether a path is of Anthropic's API; its errors have another shape, unknown paths too."""
    return path == MESSAGES_PATH or path.startswith(MESSAGES_PATH + "/")


def id_lines(path: str, request_id: str) -> str:
    """Return the two headers by which clients of either API know a request, a line each."""
    if is_anthropic(path):
        return f"x-request-id: {request_id}\r\nrequest-id: {request_id}\r\n"
    return f"x-request-id: {request_id}\r\nopenai-version: {OPENAI_VERSION}\r\n"


def fault_body(path: str, error: AirlockError) -> bytes:
    """Return the body for an error in the shape of the path's API."""
    return anthropic_error_body(error) if is_anthropic(path) else error_body(error)


def authorization(scope: Scope) -> str | None:
    """Return the `Authorization` header; clients of Anthropic's API may send `x-api-key` instead.

    They ask for models, too, whose path both APIs have.

    Raises:
        InvalidRequestError: Two keys came, so that it is not clear who is calling.
    """
    bearer = header(scope, b"authorization")
    path = scope["path"]
    if not is_anthropic(path) and (bearer is not None or not path.startswith(MODELS_PATH)):
        return bearer
    key = header(scope, b"x-api-key")
    if key is None:
        return bearer
    if bearer is not None and bearer.partition(" ")[2].strip() != key.strip():
        raise InvalidRequestError("Send one key: in 'x-api-key' or in 'authorization'.")
    return f"Bearer {key}"


def check_media_type(scope: Scope) -> None:
    """Refuse a body that says that it is something other than plain JSON.

    Raises:
        UnsupportedMediaTypeError: It does.
    """
    media_type = header(scope, b"content-type")
    if media_type is not None and media_type != JSON:
        name = media_type.partition(";")[0].strip().lower()
        if name != JSON:
            raise UnsupportedMediaTypeError("Send the body as application/json.")
    encoding = header(scope, b"content-encoding")
    if encoding is not None and encoding.strip().lower() != "identity":
        raise UnsupportedMediaTypeError("Send the body without a content encoding.")
