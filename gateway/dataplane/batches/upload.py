"""An upload on its way: `multipart/form-data`, straight to the shelf, within bounds."""

import asyncio
import secrets
from dataclasses import dataclass
from functools import partial

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.dataplane.batches.shelf import Shelf, Writing
from gateway.dataplane.http import ClientGoneError, Receive, Scope, header
from gateway.errors import (
    InvalidRequestError,
    RequestTimeoutError,
    RequestTooLargeError,
    UnsupportedMediaTypeError,
    UnsupportedParameterError,
)
from gateway.settings import Settings

FORM_BYTES = 16_384
"""What a form may have beside its file."""
MAX_FIELD_BYTES = 256
FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")


@dataclass(frozen=True)
class Upload:
    """A file that has come."""

    file_id: str
    filename: str
    size_bytes: int
    fields: dict[str, str]


class Form:
    """Takes a form apart while it comes; the file's bytes go to `writing`."""

    def __init__(self, boundary: bytes, writing: Writing, file_max_bytes: int) -> None:
        """Expect parts between boundaries.

        Raises:
            UnsupportedMediaTypeError: That is none.
        """
        self._writing = writing
        self._file_max_bytes = file_max_bytes
        self.filename: str | None = None
        self.fields: dict[str, str] = {}
        self.is_complete = False
        self._header = self._value = b""
        self._disposition = b""
        self._name = ""
        self._is_file = False
        self._field = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._take_header,
                    "on_header_value": self._take_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open,
                    "on_part_data": self._take,
                    "on_part_end": self._close,
                    "on_end": self._complete,
                },
            )
        except FormParserError as error:
            raise UnsupportedMediaTypeError("The form's boundary is not valid.") from error

    def feed(self, data: bytes) -> None:
        """Take in bytes.

        Raises:
            InvalidRequestError: They are no such form.
            UnsupportedParameterError: A field that is not known.
            RequestTooLargeError: The file is too long.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequestError("The body is no valid multipart form.") from error

    def _begin(self) -> None:
        self._disposition, self._header, self._value = b"", b"", b""
        self._field.clear()

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        name = self._header.lower()
        if name == b"content-disposition":
            self._disposition = self._value
        elif name == b"content-transfer-encoding" and self._value.lower() not in (
            b"binary",
            b"8bit",
        ):
            raise InvalidRequestError("The form's parts are sent as they are.", "file")
        self._header = self._value = b""

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._name == "file"
        if not self._is_file and self._name not in FIELDS:
            raise UnsupportedParameterError(self._name[:200])
        if self._name in self.fields or (self._is_file and self.filename is not None):
            raise InvalidRequestError("It may come once only.", self._name)
        if self._is_file:
            name = options.get(b"filename", b"").decode("utf-8", "replace")
            # Of a path only the last part says something, and it names no place here anyway.
            name = name.replace("\\", "/").rpartition("/")[2].replace("\x00", "")
            self.filename = name[:255] or "upload.jsonl"

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._writing.add(data[start:end])
            if self._writing.size_bytes > self._file_max_bytes:
                raise RequestTooLargeError(self._file_max_bytes)
            return
        self._field += data[start:end]
        if len(self._field) > MAX_FIELD_BYTES:
            raise InvalidRequestError("It is too long.", self._name)

    def _close(self) -> None:
        if not self._is_file:
            self.fields[self._name] = self._field.decode("utf-8", "replace")

    def _complete(self) -> None:
        self.is_complete = True


async def receive_upload(
    scope: Scope, receive: Receive, shelf: Shelf, settings: Settings
) -> Upload:
    """Put a file that comes on the shelf.

    Raises:
        RequestError: It is none, too long or too slow; nothing of it is kept.
        StorageUnavailableError: The shelf does not take it.
        ClientGoneError: The caller left.
    """
    boundary = _boundary(scope)
    declared = header(scope, b"content-length")
    limit = settings.file_max_bytes + FORM_BYTES
    if declared is not None and declared.isdecimal() and int(declared) > limit:
        raise RequestTooLargeError(settings.file_max_bytes)
    file_id = f"file-{secrets.token_hex(16)}"
    writing = await anyio.to_thread.run_sync(partial(shelf.write, file_id))
    try:
        form = Form(boundary, writing, settings.file_max_bytes)
        async with asyncio.timeout(settings.upload_timeout_seconds):
            await _feed(receive, form, writing, limit)
        if form.filename is None or not form.is_complete:
            raise InvalidRequestError("The form has no whole file.", "file")
        await anyio.to_thread.run_sync(writing.finish)
    except BaseException as error:
        # Also when the request is cancelled; it is one close and one unlink.
        writing.abandon()
        if isinstance(error, TimeoutError):
            raise RequestTimeoutError(settings.upload_timeout_seconds) from error
        raise
    return Upload(file_id, form.filename, writing.size_bytes, form.fields)


async def _feed(receive: Receive, form: Form, writing: Writing, limit_bytes: int) -> None:
    size, is_more = 0, True
    while is_more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGoneError
        part = event.get("body", b"")
        is_more = event.get("more_body", False)
        size += len(part)
        if size > limit_bytes:
            raise RequestTooLargeError(limit_bytes)
        form.feed(part)
        if writing.is_full:
            await anyio.to_thread.run_sync(writing.flush)


def _boundary(scope: Scope) -> bytes:
    kind, options = parse_options_header(header(scope, b"content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise UnsupportedMediaTypeError("Send the file as multipart/form-data.")
    encoding = header(scope, b"content-encoding")
    if encoding is not None and encoding.strip().lower() != "identity":
        raise UnsupportedMediaTypeError("Send the body without a content encoding.")
    return boundary
