"""The postman: sends what is in the outbox, after the commit that left it there.

    waiting ── taken, delivered ──> sent
       │ ^ └── for nobody any more ─> dropped
       │ └──── failed: later again
       └────── failed for good, or too often ─> dead, until somebody sends it again

What concerns the reader of one address alone is dropped when that is refused for good: whoever
named it asks again, and nobody else has anything to mend.

A gateway that takes a notice moves its moment ahead: if it dies, another one takes it then. So what
was delivered just before a death is delivered twice, under one id; nothing is lost.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import Select, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db import Database
from gateway.metrics import Metrics
from gateway.notices.delivery import Dropped, Failed
from gateway.notices.keys import NoticeKeys
from gateway.notices.letters import Sender, letter
from gateway.notices.mail import AT_A_TIME as MAILS_AT_A_TIME
from gateway.notices.mail import Mailer, longest_seconds
from gateway.notices.recipients import COUNTED, find_mailbox, find_receiver
from gateway.notices.reminders import remind
from gateway.notices.webhooks import Caller, payload
from gateway.policy.notices import MAIL_ONLY, Event, wait_before
from gateway.settings import Settings
from gateway.tables import InstitutionMail, Notice, Webhook
from gateway.trouble import Trouble

Channel = Literal["mail", "webhook"]
RecordGone = Callable[[AsyncSession, str, datetime], Awaitable[None]]
CHANNELS: tuple[Channel, ...] = ("mail", "webhook")
AT_A_TIME: Mapping[Channel, int] = {"mail": MAILS_AT_A_TIME, "webhook": 16}
"""No more than are sent at once: what waited for its turn would use up its attempt."""
LEEWAY_SECONDS = 20
"""What an attempt may take for the database; its lease is longer by as much again."""


def _outbox() -> Select[int, int, int, int]:
    is_waiting, is_mail = Notice.state == "waiting", Notice.webhook_id.is_(None)
    is_due = is_waiting & (Notice.next_at <= bindparam("now", type_=Notice.next_at.type))
    return select(
        func.count().filter(is_waiting).label("waiting"),
        func.count().filter(Notice.state == "dead").label("dead"),
        func.count().filter(is_due & is_mail).label("mails"),
        func.count().filter(is_due & ~is_mail).label("webhooks"),
    ).where(Notice.state.in_(("waiting", "dead")))


OUTBOX = _outbox()
log = logging.getLogger(__name__)


class _End(NamedTuple):
    """How an attempt ended."""

    state: str
    problem: str | None = None
    next_at: datetime | None = None


class Postman:
    """Sends notices, as long as the gateway serves; no request ever waits for it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        keys: NoticeKeys,
        metrics: Metrics,
        record_gone: RecordGone,
    ) -> None:
        """Send nothing yet; a webhook that its receiver ended is left to `record_gone` to record.

        Raises:
            ConfigurationError: A file that the settings name cannot be read.
        """
        self._settings, self._database, self._keys = settings, database, keys
        self._metrics, self._record_gone = metrics, record_gone
        self._mailer = Mailer(settings) if settings.mail_host is not None else None
        self._sender = Sender(settings.mail_from or "", settings.public_url)
        self._attempt_seconds: dict[Channel, float] = {
            "mail": longest_seconds(settings) + LEEWAY_SECONDS,
            "webhook": 3 * settings.webhook_timeout_seconds + LEEWAY_SECONDS,
        }
        # Not by the clock on the wall: after one that was ahead nobody would be reminded.
        self._remind_at = time.monotonic()
        self._outbox = database.poll(OUTBOX)
        self._is_due = {channel: asyncio.Event() for channel in CHANNELS}

    async def run(self) -> None:
        """Send, for ever; what one channel waits for does not hold up the other."""
        caller = Caller(self._settings)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look())
                for channel in CHANNELS:
                    tasks.create_task(self._send_all(channel, caller))
        finally:
            await caller.close()

    async def _look(self) -> None:
        """Count what waits, and wake whoever sends it, for ever; look after the rest meanwhile."""
        trouble = Trouble(log, "notices could not be looked for")
        while True:
            with trouble.watched():
                now = datetime.now(UTC)
                if time.monotonic() >= self._remind_at:
                    await self._look_after(now)
                if (row := await self._outbox.ask({"now": now})) is not None:
                    self._metrics.background.notices_waiting.set(row.waiting)
                    self._metrics.background.notices_dead.set(row.dead)
                    for channel, count in zip(CHANNELS, (row.mails, row.webhooks), strict=True):
                        if count:
                            self._is_due[channel].set()
            await asyncio.sleep(self._settings.notice_poll_seconds)

    async def _send_all(self, channel: Channel, caller: Caller) -> None:
        trouble = Trouble(log, f"{channel}s could not be looked for")
        while True:
            await self._is_due[channel].wait()
            self._is_due[channel].clear()
            with trouble.watched():
                while await self.send_some(channel, caller):
                    pass

    async def _look_after(self, now: datetime) -> None:
        """Leave reminders, and clear away what is old."""
        self._remind_at = time.monotonic() + self._settings.notice_remind_seconds
        async with self._database.transaction() as session:
            await remind(session, now)
            before = now - timedelta(days=self._settings.notice_days)
            await session.execute(delete(Notice).where(Notice.ended_at < before))
            await session.execute(
                delete(InstitutionMail).where(
                    InstitutionMail.evidence_id.is_(None),
                    InstitutionMail.asked_at < now - COUNTED,
                )
            )

    async def send_some(self, channel: Channel, caller: Caller) -> int:
        """Send what is due by one channel, so many at a time; return how many were taken."""
        async with self._database.transaction() as session:
            taken = await self._take(session, channel, datetime.now(UTC))
        async with asyncio.TaskGroup() as tasks:
            for notice in taken:
                tasks.create_task(self._attempt(notice, caller))
        return len(taken)

    async def _take(self, session: AsyncSession, channel: Channel, now: datetime) -> list[Notice]:
        is_mail = Notice.webhook_id.is_(None)
        which = is_mail if channel == "mail" else ~is_mail
        due = (Notice.state == "waiting", Notice.next_at <= now, which)
        rows = await session.execute(
            select(Notice.id, Notice.claim)
            .where(*due)
            .order_by(Notice.next_at, Notice.created_at)
            .limit(AT_A_TIME[channel])
        )
        taken = []
        lease = timedelta(seconds=self._attempt_seconds[channel] + LEEWAY_SECONDS)
        # In one order everywhere, so that two gateways do not wait for each other's rows.
        for row in sorted(rows.all()):
            # Another gateway may have seen the same row: the number lets one of them have it.
            found = await session.scalar(
                update(Notice)
                .where(Notice.id == row.id, Notice.claim == row.claim, *due)
                .values(claim=row.claim + 1, next_at=now + lease)
                .returning(Notice)
            )
            if found is not None:
                taken.append(found)
        return taken

    async def _attempt(self, notice: Notice, caller: Caller) -> None:
        channel: Channel = "mail" if notice.webhook_id is None else "webhook"
        try:
            end = await self._deliver(notice, channel, caller)
            async with self._database.transaction() as session:
                await self._settle(session, notice, end)
        except Exception:  # Its lease ends by itself, and it is taken again.
            which = {"airlock": {"notice": notice.id}}
            log.warning("a notice could not be brought forward", exc_info=True, extra=which)
            return
        outcome = "failed" if end.state == "waiting" else end.state
        self._metrics.background.notices.labels(channel, outcome).inc()

    async def _deliver(self, notice: Notice, channel: Channel, caller: Caller) -> _End:
        try:
            async with asyncio.timeout(self._attempt_seconds[channel]):
                if channel == "mail":
                    await self._mail(notice)
                else:
                    await self._call(notice, caller)
        except Dropped as error:
            return _End("dropped", error.reason)
        except Failed as error:
            asked = error.asked_seconds
            return self._later(notice, error.reason, is_final=error.is_final, asked_seconds=asked)
        except TimeoutError:
            return self._later(notice, "it took too long", is_final=False)
        except Exception as error:  # noqa: BLE001 - its text may hold an address; its kind is logged
            # Whatever it was, it is counted as an attempt, or it would be tried for ever.
            log.warning("a notice could not be sent: %s", type(error).__name__)
            return self._later(notice, f"a fault: {type(error).__name__}", is_final=False)
        return _End("sent")

    def _later(
        self, notice: Notice, reason: str, *, is_final: bool, asked_seconds: float | None = None
    ) -> _End:
        first = timedelta(seconds=self._settings.notice_retry_seconds)
        chance = random.random()  # noqa: S311 - it spreads attempts, and guards nothing
        asked = None if asked_seconds is None else timedelta(seconds=asked_seconds)
        if is_final and notice.event in MAIL_ONLY:
            return _End("dropped", reason)
        wait = None if is_final else wait_before(notice.attempts + 1, first, chance, asked)
        if wait is None:
            return _End("dead", reason)
        return _End("waiting", reason, datetime.now(UTC) + wait)

    async def _settle(self, session: AsyncSession, notice: Notice, end: _End) -> None:
        values: dict[str, object] = {"attempts": notice.attempts + 1, "problem": end.problem}
        if end.next_at is not None:
            values["next_at"] = end.next_at
        else:
            values |= {"state": end.state, "ended_at": datetime.now(UTC)}
        mine = (Notice.id == notice.id, Notice.claim == notice.claim)
        await session.execute(update(Notice).where(*mine).values(**values))
        if end.state == "dropped" and notice.webhook_id is not None:
            now = datetime.now(UTC)
            gone = update(Webhook).where(
                Webhook.id == notice.webhook_id, Webhook.ended_at.is_(None)
            )
            ended = gone.values(ended_at=now).returning(Webhook.id)
            if await session.scalar(ended) is not None:
                await self._record_gone(session, notice.webhook_id, now)

    async def _mail(self, notice: Notice) -> None:
        if self._mailer is None:
            raise Dropped("no mail server is set")
        async with self._database.transaction() as session:
            box = await find_mailbox(session, notice, self._keys, datetime.now(UTC))
        message = letter(
            self._sender,
            box.email,
            notice.id,
            Event(notice.event),
            notice.data,
            created_at=notice.created_at,
            link=box.link,
        )
        await self._mailer.send(box.email, message)

    async def _call(self, notice: Notice, caller: Caller) -> None:
        now = datetime.now(UTC)
        async with self._database.transaction() as session:
            receiver = await find_receiver(session, notice, self._keys, now)
        body = payload(notice.event, notice.created_at, notice.subject, notice.data)
        await caller.send(receiver.url, receiver.secrets, notice.id, body, now)
