"""Keeping contents while requests are answered: what must be possible before, and what follows.

    prepare   may contents of these grants be kept now? if they must and cannot, the request is
              refused; the grants' key is durable, the request's commitment goes into the intent
    begin     the request is queued, its answer is taken in as it passes
    end       the answer is queued, its commitment goes into the outcome

Sealing and writing happen behind, in a task of their own; no chunk waits for them. What is waiting
when a gateway is killed is lost, and the log's commitments show that something is missing.
"""

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import anyio.to_thread
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import clock
from gateway.contents.sealing import (
    GrantsKey,
    PartName,
    Place,
    SealedPart,
    commit,
    make_grants_key,
    new_part_key,
    seal,
)
from gateway.contents_errors import ContentsUnavailableError
from gateway.db import Database
from gateway.errors import AirlockError
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.tables import ContentKey, KeptContent
from gateway.trouble import Trouble

KEY_SERVES = timedelta(days=1)
"""Then the same grants get another: contents expire by their key, so to the day."""
MAX_GROUP = 50
WRITE_SECONDS = 15.0
"""A database that is silent, not down, would keep the gateway from ending."""
RETRY_SECONDS = 0.5
log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    place: Place
    part_key: bytes
    content: bytes
    key: GrantsKey
    at: datetime


@dataclass
class _InUse:
    key: GrantsKey
    until: datetime


class Keeping:
    """Keeps contents for one gateway process."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        holder: X25519PublicKey | None,
        metrics: Metrics,
    ) -> None:
        """Keep nothing until `run`; without a holder's key, nothing can be kept."""
        self._settings = settings
        self._database = database
        self._holder = holder
        self._metrics = metrics
        self._keys: dict[tuple[str, ...], _InUse] = {}
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._held_bytes = 0
        self._is_failing = False
        self._is_stopping = False
        self._trouble = Trouble(log, "contents could not be written")
        metrics.background.contents_held.set_function(lambda: self._held_bytes)

    def demanded(self, tier_keeps: bool) -> bool:
        """Whether contents must be kept, by the word of their caller's tier or for everybody."""
        return tier_keeps or self._settings.keep_contents == "base"

    async def prepare(self, request_id: str, grants: Sequence[str], body: bytes) -> "Kept":
        """Return what keeps a request's contents, before the request is sent on.

        Raises:
            ContentsUnavailableError: They cannot be kept, so the request must not be sent on.
        """
        try:
            key = await self._key(tuple(sorted(grants)))
            if self._is_failing or self._held_bytes > self._settings.contents_max_waiting_bytes:
                raise ContentsUnavailableError
        except ContentsUnavailableError:
            self._metrics.background.contents_refused.inc()
            raise
        return Kept(self, request_id, key, body)

    async def _key(self, grants: tuple[str, ...]) -> GrantsKey:
        """Return the key of some grants, which is in the database by then."""
        now = clock.now()
        used = self._keys.get(grants)
        if used is not None and now < used.until:
            return used.key
        if self._holder is None or not grants:
            raise ContentsUnavailableError
        made = make_grants_key(str(uuid.uuid4()), grants, self._holder)
        try:
            async with asyncio.timeout(self._settings.audit_timeout_seconds):
                async with self._database.transaction() as session:
                    session.add(self._row(made, now))
        except (AirlockError, TimeoutError) as error:
            raise ContentsUnavailableError from error
        # Two requests at a time may have made one each; both are good.
        self._keys = {held: each for held, each in self._keys.items() if now < each.until}
        self._keys[grants] = _InUse(made, now + KEY_SERVES)
        return made

    def take(self, size: int) -> None:
        """Count what is held in memory."""
        self._held_bytes += size

    def put(self, place: Place, part_key: bytes, content: bytes, key: GrantsKey) -> None:
        """Have a part sealed and written; its size is counted already."""
        self._queue.append(_Waiting(place, part_key, content, key, datetime.now(UTC)))
        self._arrived.set()

    async def run(self) -> None:
        """Seal and write what arrives, until `stop`."""
        while True:
            while self._queue:
                group = [self._queue.popleft() for _ in range(min(MAX_GROUP, len(self._queue)))]
                self._is_failing = not await self._write(group)
                if not self._is_failing:
                    self._held_bytes -= sum(len(each.content) for each in group)
                    self._metrics.background.contents_kept.inc(len(group))
                    continue
                self._queue.extendleft(reversed(group))
                if self._is_stopping:
                    log.error("contents are lost", extra={"airlock": {"parts": len(self._queue)}})
                    return
                await asyncio.sleep(RETRY_SECONDS)
            if self._is_stopping:
                return
            await self._arrived.wait()
            self._arrived.clear()

    def stop(self) -> None:
        """Let `run` end when it has written what is waiting; nothing may arrive any more."""
        self._is_stopping = True
        self._arrived.set()

    async def _write(self, group: list[_Waiting]) -> bool:
        try:
            sealed = await anyio.to_thread.run_sync(_seal, group)
            names = {each.place.request_id for each in group}
            written = select(KeptContent.request_id, KeptContent.part)
            async with asyncio.timeout(WRITE_SECONDS):
                async with self._database.transaction() as session:
                    await self._restore_keys(session, group)
                    # A transaction that seemed to fail may have been committed all the same.
                    rows = await session.execute(written.where(KeptContent.request_id.in_(names)))
                    known = {(row.request_id, row.part) for row in rows}
                    new = [row for row in sealed if (row["request_id"], row["part"]) not in known]
                    if new:
                        await session.execute(insert(KeptContent), new)
        except Exception:  # noqa: BLE001 - its kind is logged.
            # Whatever it was, it is tried again, and nothing new is taken on meanwhile.
            self._trouble.failed()
            return False
        self._trouble.worked()
        return True

    async def _restore_keys(self, session: AsyncSession, group: list[_Waiting]) -> None:
        """Write keys again that a database has lost which came back from a backup."""
        keys = {each.key.id: each.key for each in group}
        held = set(await session.scalars(select(ContentKey.id).where(ContentKey.id.in_(keys))))
        for key in (key for key_id, key in keys.items() if key_id not in held):
            session.add(self._row(key, datetime.now(UTC)))
        await session.flush()

    def _row(self, key: GrantsKey, now: datetime) -> ContentKey:
        return ContentKey(
            id=key.id,
            grants=list(key.grants),
            public=key.public.public_bytes(Encoding.Raw, PublicFormat.Raw),
            sealed_private=key.sealed_private,
            made_at=now,
            expires_at=now + KEY_SERVES + timedelta(days=self._settings.contents_days),
        )


class Kept:
    """The contents of one request, on their way."""

    def __init__(self, keeping: Keeping, request_id: str, key: GrantsKey, body: bytes) -> None:
        """Commit to the request; keep nothing yet."""
        self._keeping = keeping
        self._request_id = request_id
        self._key = key
        self._body = body
        self._entry = ""
        self._part_key = new_part_key()
        self._answer: list[bytes] = []
        self.intended = {
            "key": key.id,
            "request": commit(self._part_key, request_id, "request", body),
        }
        """What the intent's entry says of it."""
        self.ended: dict[str, str] | None = None
        """What the outcome's does."""

    def begin(self, entry: str) -> None:
        """Queue the request, whose intent is durable, with the commitment that it has."""
        self._entry = entry
        self._keeping.take(len(self._body))
        self._put("request", self._part_key, self._body)

    def take(self, data: bytes) -> None:
        """Take in a part of the answer, as it is sent."""
        self._answer.append(data)
        self._keeping.take(len(data))

    def end(self) -> None:
        """Queue the answer, as much as there is of it."""
        answer = b"".join(self._answer)
        if not answer:
            return
        part_key = new_part_key()
        self.ended = {"answer": commit(part_key, self._request_id, "answer", answer)}
        self._put("answer", part_key, answer)

    def _put(self, part: PartName, part_key: bytes, content: bytes) -> None:
        place = Place(self._request_id, part, self._key.id, self._entry)
        self._keeping.put(place, part_key, content, self._key)


def _seal(group: list[_Waiting]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for each in group:
        sealed: SealedPart = seal(each.part_key, each.place, each.content, each.key.public)
        rows.append(
            {
                "request_id": each.place.request_id,
                "part": each.place.part,
                "key_id": each.place.key_id,
                "at": each.at,
                **sealed._asdict(),
            }
        )
    return rows
