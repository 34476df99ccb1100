"""What gateways on one PostgreSQL tell one another at once, by `NOTIFY`.

Nothing may rest on it: a connection can be silent without being closed, and what is told while
nobody listens is lost. Who hears looks by themselves as well, or does with less. A SQLite file is
for one gateway, which has nobody to tell.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ARRAY, Select, Text, func, literal, select
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db import CONNECT_TIMEOUT_SECONDS, Database
from gateway.errors import NotReadyError
from gateway.trouble import Trouble

CHANGES = "airlock_changes"
"""Access has changed; the text says nothing."""
SUSPECTS = "airlock_suspects"
"""A request was in flight when its engine broke down; the text is what `Suspects` makes of it."""
LISTEN_AGAIN_SECONDS = 1.0
SPEAK_SECONDS = 5.0
"""For one statement; what becomes of its connection then takes psycopg up to ten more."""
MOST_UNSAID = 10_000
"""What is told in one moment beyond that is not announced; nobody holds back more either."""
log = logging.getLogger(__name__)


class Announcement(NamedTuple):
    """What was announced."""

    channel: str
    text: str


def notification(said: Sequence[Announcement]) -> Select[tuple[None]]:
    """Return the statement that announces; equal texts of a channel are told once."""
    columns = ([one.channel for one in said], [one.text for one in said])
    arrays = (literal(column, ARRAY(Text)) for column in columns)
    each = func.unnest(*arrays).table_valued("channel", "text").render_derived()
    return select(func.pg_notify(each.c.channel, each.c.text))


async def announce(session: AsyncSession, channel: str) -> None:
    """Have every gateway told once this transaction is committed."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(notification([Announcement(channel, "")]))


async def announcements(url: URL, channels: Sequence[str]) -> AsyncIterator[Announcement]:
    """Yield an empty text of each channel once PostgreSQL is listened to, then what is announced.

    Ends at once on SQLite, which has no such thing.

    Raises:
        NotReadyError: The database is down, or was.
    """
    if url.get_backend_name() == "sqlite":
        return
    # Some megabytes, which only those pay for who have a PostgreSQL.
    import psycopg

    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        async with await psycopg.AsyncConnection.connect(
            address, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
        ) as connection:
            for channel in channels:
                await connection.execute(f"LISTEN {channel}".encode())
            for channel in channels:
                yield Announcement(channel, "")
            async for said in connection.notifies():
                yield Announcement(said.channel, said.payload)
    except (psycopg.Error, OSError) as error:
        raise NotReadyError("The database did not answer") from error


class Announcer:
    """Says what others should know, and passes on what they say; two tasks do so for ever."""

    def __init__(self, database: Database) -> None:
        """Announce in `database`."""
        self._database = database
        self._is_alone = database.url.get_backend_name() == "sqlite"
        self._unsaid: list[Announcement] = []
        self._has_news = asyncio.Event()

    def tell(self, channel: str, text: str) -> None:
        """Have every gateway told in a moment, this one too; nobody waits for it."""
        if not self._is_alone and len(self._unsaid) < MOST_UNSAID:
            self._unsaid.append(Announcement(channel, text))
            self._has_news.set()

    async def speak(self) -> None:
        """Announce what is to be told, for ever; what cannot be is lost."""
        trouble = Trouble(log, "other gateways are not told of suspect requests")
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            said, self._unsaid = self._unsaid, []
            with trouble.watched():
                async with asyncio.timeout(SPEAK_SECONDS):
                    await self._database.execute_apart(notification(said))

    async def listen(self, hear: Mapping[str, Callable[[str], None]]) -> None:
        """Pass on what is announced, for ever.

        Args:
            hear: By channel, who is told a text; an empty one where some may have been missed.
        """
        trouble = Trouble(
            log, "other gateways are not heard; changes of access are only polled", calm_seconds=0
        )
        deaf = Trouble(log, "what another gateway says could not be taken in")
        while True:
            try:
                async for said in announcements(self._database.url, list(hear)):
                    trouble.worked()
                    with deaf.watched():  # Whatever it was: who hears no more knows less.
                        hear[said.channel](said.text)
            except NotReadyError:
                trouble.failed()
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)
