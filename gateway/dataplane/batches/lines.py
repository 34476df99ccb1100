"""The lines of a batch: one request each; what a file must be, and what stands in its results."""

import secrets
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from gateway.dataplane.batches.shelf import Shelf
from gateway.dataplane.wire.request import ModelName, decode
from gateway.errors import RequestError
from gateway.settings import Settings

AROUND_BODY_BYTES = 4096
"""What a line may have beside its request's body."""
MAX_ERRORS = 100
"""So many of a file's errors are told."""


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """One line."""

    custom_id: Annotated[str, Meta(min_length=1, max_length=512)]
    method: Literal["POST"]
    url: Annotated[str, Meta(max_length=200)]
    body: msgspec.Raw


class Named(msgspec.Struct):
    """What must be known of a body before it is anybody's turn."""

    model: ModelName


LINES = msgspec.json.Decoder(Line)
BODIES = msgspec.json.Decoder(Named)


class Numbered(NamedTuple):
    """A line and its place in the file, from 1."""

    number: int
    line: Line


class Checked(NamedTuple):
    """What a file turned out to be: a batch's requests, unless there are errors."""

    total: int
    model: str | None
    errors: list[dict[str, object]]


class _Fault(Exception):  # noqa: N818 - an error of the caller's file, not of the gateway
    """What is wrong with a line."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


def read_lines(shelf: Shelf, file_id: str, settings: Settings) -> Iterator[Numbered]:
    """Yield the lines of a file that has been checked; blocks.

    Raises:
        StorageUnavailableError: Its content cannot be read.
    """
    for number, text in _texts(shelf, file_id, settings):
        if text is not None:
            yield Numbered(number, LINES.decode(text))


def check_lines(shelf: Shelf, file_id: str, endpoint: str, settings: Settings) -> Checked:
    """Say whether a file is a batch for an endpoint; blocks.

    What each request asks for is judged when it runs, as a live one's would be. Here it is what
    only the whole file can show.

    Raises:
        StorageUnavailableError: Its content cannot be read.
    """
    checker = _Checker(endpoint)
    errors: list[dict[str, object]] = []
    for number, text in _texts(shelf, file_id, settings):
        if checker.total == settings.batch_max_lines:
            message = f"A batch has at most {settings.batch_max_lines} requests."
            errors.append(_error("too_many_requests", message))
            break
        try:
            checker.take(text, settings)
        except _Fault as fault:
            errors.append(_error(fault.code, str(fault), number, fault.param))
            if len(errors) == MAX_ERRORS:
                break
    if not checker.total and not errors:
        errors.append(_error("empty_file", "The file holds no request."))
    return Checked(checker.total, checker.model, errors)


class _Checker:
    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._ids: set[str] = set()
        self.total = 0
        self.model: str | None = None

    def take(self, text: bytes | None, settings: Settings) -> None:
        """Look at the next line.

        Raises:
            _Fault: Something is wrong with it.
        """
        self.total += 1
        if text is None:
            most = settings.max_body_bytes + AROUND_BODY_BYTES
            raise _Fault("line_too_long", f"The line has more than {most} bytes.")
        try:
            line = decode(text, LINES)
            body = bytes(line.body)
            model = decode(body, BODIES).model
        except RequestError as error:
            raise _Fault("invalid_json_line", str(error), error.param) from error
        if len(body) > settings.max_body_bytes:
            message = f"The body has more than {settings.max_body_bytes} bytes."
            raise _Fault("line_too_long", message, "body")
        if line.url != self._endpoint:
            raise _Fault("invalid_url", f"The batch is for {self._endpoint}.", "url")
        if line.custom_id in self._ids:
            raise _Fault("duplicate_custom_id", "Another line has the same custom_id.", "custom_id")
        self._ids.add(line.custom_id)
        self.model = self.model or model
        if model != self.model:
            message = "The model is another one than that of the lines before."
            raise _Fault("mismatched_model", message, "body.model")


def first_model(shelf: Shelf, file_id: str, settings: Settings) -> str | None:
    """Return the model that a file's first line asks for; None when it is no line. Blocks.

    Raises:
        StorageUnavailableError: Its content cannot be read.
    """
    _, text = next(_texts(shelf, file_id, settings), (0, None))
    try:
        return None if text is None else decode(bytes(decode(text, LINES).body), BODIES).model
    except RequestError:
        return None


def answered_line(custom_id: str, request_id: str, status: int, body: bytes) -> bytes:
    """Return the line in the results for a request that was answered, if only with an error."""
    # In JSON, ends of lines stand between values alone: as blanks they say the same.
    whole = msgspec.Raw(body.replace(b"\n", b" ").replace(b"\r", b" "))
    response = {"status_code": status, "request_id": request_id, "body": whole}
    return _result(custom_id, response, None)


def unanswered_line(custom_id: str, code: str, message: str) -> bytes:
    """Return the line in the results for a request that was never made."""
    return _result(custom_id, None, {"code": code, "message": message})


def _result(
    custom_id: str, response: dict[str, object] | None, error: dict[str, str] | None
) -> bytes:
    return msgspec.json.encode(
        {
            "id": f"batch_req_{secrets.token_hex(16)}",
            "custom_id": custom_id,
            "response": response,
            "error": error,
        }
    )


def _texts(shelf: Shelf, file_id: str, settings: Settings) -> Iterator[tuple[int, bytes | None]]:
    most = settings.max_body_bytes + AROUND_BODY_BYTES
    for number, text in enumerate(shelf.lines(file_id, most), start=1):
        if text is None or text.strip():
            yield number, text


def _error(
    code: str, message: str, line: int | None = None, param: str | None = None
) -> dict[str, object]:
    return {"code": code, "line": line, "message": message, "param": param}
