"""What callers do with files and batches over HTTP; a person's are that person's alone.

Not their organisation's: grants are a person's, and so is what an open door has answered.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import anyio.to_thread
import msgspec
import orjson

from gateway import clock
from gateway.dataplane import intake
from gateway.dataplane.batches.files import (
    add_file,
    check_room,
    delete_file,
    file_object,
    find_file,
)
from gateway.dataplane.batches.jobs import (
    BatchRequest,
    add_batch,
    batch_object,
    cancel_batch,
    find_batch,
)
from gateway.dataplane.batches.lines import first_model
from gateway.dataplane.batches.pages import list_batches, list_files, page_object, read_page
from gateway.dataplane.batches.shelf import Shelf
from gateway.dataplane.batches.upload import receive_upload
from gateway.dataplane.call import Call
from gateway.dataplane.http import (
    ClientGoneError,
    Receive,
    Scope,
    Send,
    exchange_of,
    read_body,
    send_part,
    send_start,
)
from gateway.dataplane.inference import Inference
from gateway.dataplane.snapshot import SnapshotKeeper
from gateway.dataplane.wire.request import decode
from gateway.db import Database
from gateway.errors import (
    GrantRevokedError,
    MethodNotAllowedError,
    NotReadyError,
    RequestError,
    StorageUnavailableError,
)
from gateway.identity.principal import Principal
from gateway.identity_errors import InsufficientScopeError
from gateway.settings import Settings
from gateway.tables import StoredFile

DECODER = msgspec.json.Decoder(BatchRequest)
Body = dict[str, object]


@dataclass(frozen=True)
class Visit:
    """One request for something of the caller's."""

    call: Call
    principal: Principal
    scope: Scope
    receive: Receive
    send: Send

    @property
    def id(self) -> str:
        """What the path names."""
        return str(self.scope["path"]).split("/")[3]

    @property
    def person_id(self) -> str:
        """Whose it must be."""
        return self.principal.person_id

    def reply(self, body: Body) -> None:
        """Write a whole answer."""
        self.call.write_json(exchange_of(self.scope), orjson.dumps(body))


class Archive:
    """Files and batches."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        shelf: Shelf,
        keeper: SnapshotKeeper,
        inference: Inference,
    ) -> None:
        """Keep rows in `database`, contents on `shelf`; doors are `keeper`'s and `inference`'s."""
        self._settings = settings
        self._database = database
        self._shelf = shelf
        self._keeper = keeper
        self._inference = inference

    async def upload(self, visit: Visit) -> None:
        """Take in a file.

        Raises:
            RequestError: It is not as it should be.
            StorageUnavailableError: It cannot be kept.
        """
        async with self._database.transaction() as session:
            # Before its bytes come: who has no room need not send them.
            await check_room(session, visit.person_id, 0, self._settings)
        upload = await receive_upload(visit.scope, visit.receive, self._shelf, self._settings)
        try:
            async with self._database.transaction() as session:
                file = await add_file(
                    session, upload, visit.person_id, datetime.now(UTC), self._settings
                )
        except RequestError:
            # Whatever else goes wrong, its row may have been written; what has none is swept.
            self._shelf.remove(upload.file_id)
            raise
        visit.reply(file_object(file))

    async def list_files(self, visit: Visit) -> None:
        """List the caller's files."""
        allowed = ("after", "limit", "order", "purpose")
        page = read_page(visit.scope, allowed, most=10_000, usual=10_000)
        async with self._database.transaction() as session:
            files = await list_files(session, visit.person_id, page)
        visit.reply(page_object([file_object(file) for file in files], page.limit))

    async def show_file(self, visit: Visit) -> None:
        """Describe a file.

        Raises:
            NotFoundError: The caller has none of that id.
        """
        visit.reply(file_object(await self._file(visit)))

    async def delete_file(self, visit: Visit) -> None:
        """Delete a file.

        Raises:
            NotFoundError: The caller has none of that id.
            ConflictError: A batch is at work on it.
        """
        async with self._database.transaction() as session:
            file = await find_file(session, visit.id, visit.person_id, clock.now())
            await delete_file(session, file)
        await anyio.to_thread.run_sync(self._shelf.remove, file.id)
        visit.reply({"id": file.id, "object": "file", "deleted": True})

    async def content(self, visit: Visit) -> None:
        """Send a file's content.

        Raises:
            NotFoundError: The caller has none of that id.
            GrantRevokedError: It holds what a door has answered that is closed to them now.
            NotReadyError: Nobody can tell at the moment whether it is.
            ClientGoneError: Its owner has left, or does not read it.
        """
        file = await self._file(visit)
        self._check_open(visit, file)
        parts = self._shelf.read(file.id)
        # The first part before the status: what cannot be read is an error, not a broken answer.
        part = await _next(parts)
        own = f"content-type: application/octet-stream\r\ncontent-length: {file.size_bytes}\r\n"
        await send_start(visit.send, 200, visit.call.lines_now() + own)
        visit.call.outcome.status = 200
        patience = self._settings.idle_timeout_seconds
        while part is not None:
            await send_part(visit.send, part, patience)
            if exchange_of(visit.scope).disconnected:
                raise ClientGoneError
            try:
                part = await _next(parts)
                self._check_open(visit, file)  # A slow reader's grant may end on the way.
            except (StorageUnavailableError, NotReadyError, GrantRevokedError) as error:
                # The status has been sent: all that can be done is to end the connection early.
                raise RuntimeError("a file's content ended in its middle") from error
        await send_part(visit.send, b"", patience, is_last=True)

    def _check_open(self, visit: Visit, file: StoredFile) -> None:
        """Raise unless the doors that have answered what a file holds are open to its owner."""
        if not file.domains:
            return
        if self._keeper.age_seconds > self._settings.privileged_max_age_seconds:
            raise NotReadyError
        now = clock.now()
        principal = self._keeper.current().directory.principal(visit.principal.key_id, now)
        if principal is None or set(file.domains) - principal.domains(now):
            raise GrantRevokedError

    async def create(self, visit: Visit) -> None:
        """Make a batch.

        Raises:
            RequestError: It is not as it should be.
            GrantRequiredError: Its model is behind a door that is closed to the caller.
            InsufficientScopeError: The key may not ask what its lines would.
        """
        intake.check_media_type(visit.scope)
        settings = self._settings
        body = await read_body(
            visit.scope, visit.receive, settings.max_body_bytes, settings.body_timeout_seconds
        )
        request, now = decode(body, DECODER), datetime.now(UTC)
        if not visit.principal.terms.may_ask(request.endpoint):
            raise InsufficientScopeError(request.endpoint)
        async with self._database.transaction() as session:
            file = await find_file(session, request.input_file_id, visit.person_id, now)
            door = await self._door(visit, file)
            batch = await add_batch(session, request, file, visit.principal, door, now, settings)
        visit.reply(batch_object(batch))

    async def list_batches(self, visit: Visit) -> None:
        """List the caller's batches."""
        page = read_page(visit.scope, ("after", "limit"), most=100, usual=20)
        async with self._database.transaction() as session:
            batches = await list_batches(session, visit.person_id, page)
        visit.reply(page_object([batch_object(batch) for batch in batches], page.limit))

    async def show(self, visit: Visit) -> None:
        """Describe a batch.

        Raises:
            NotFoundError: The caller has none of that id.
        """
        async with self._database.transaction() as session:
            batch = await find_batch(session, visit.id, visit.person_id)
        visit.reply(batch_object(batch))

    async def cancel(self, visit: Visit) -> None:
        """Have a batch end early.

        Raises:
            NotFoundError: The caller has none of that id.
            ConflictError: It has ended.
        """
        async with self._database.transaction() as session:
            batch = await find_batch(session, visit.id, visit.person_id)
            await cancel_batch(session, batch, datetime.now(UTC))
        visit.reply(batch_object(batch))

    async def _door(self, visit: Visit, file: StoredFile) -> str | None:
        """Return the alias that a batch's lines are for; None when they say none."""
        model = await anyio.to_thread.run_sync(first_model, self._shelf, file.id, self._settings)
        if model is None:
            return None
        snapshot, grants = self._keeper.current(), visit.principal.domains(clock.now())
        return self._inference.choose(visit.call, model, snapshot, visit.principal, grants).name

    async def _file(self, visit: Visit) -> StoredFile:
        async with self._database.transaction() as session:
            return await find_file(session, visit.id, visit.person_id, clock.now())


Handler = Callable[[Archive, Visit], Awaitable[None]]
ID = "[A-Za-z0-9_-]{1,64}"
PATHS: tuple[tuple[re.Pattern[str], dict[str, Handler]], ...] = (
    (re.compile("/v1/files"), {"GET": Archive.list_files, "POST": Archive.upload}),
    (
        re.compile(f"/v1/files/{ID}"),
        {"GET": Archive.show_file, "DELETE": Archive.delete_file},
    ),
    (re.compile(f"/v1/files/{ID}/content"), {"GET": Archive.content}),
    (re.compile("/v1/batches"), {"GET": Archive.list_batches, "POST": Archive.create}),
    (re.compile(f"/v1/batches/{ID}"), {"GET": Archive.show}),
    (re.compile(f"/v1/batches/{ID}/cancel"), {"POST": Archive.cancel}),
)


def find_handler(path: str, method: str) -> Handler | None:
    """Return what answers a path; None when it is none of these.

    Raises:
        MethodNotAllowedError: It is one, and takes other methods.
    """
    for pattern, handlers in PATHS:
        if pattern.fullmatch(path):
            if method not in handlers:
                raise MethodNotAllowedError(", ".join(handlers))
            return handlers[method]
    return None


async def _next(parts: Iterator[bytes]) -> bytes | None:
    return await anyio.to_thread.run_sync(partial(next, parts, None))
