"""A poll: one question to the database that is asked again and again, mostly in vain.

It has a connection of its own, without transactions: a session for each time takes four times as
long, and an idle gateway does little else; and it goes on asking while requests have every
connection of the pool. What is to be done about an answer is done in a transaction, which looks
again.
"""

from collections.abc import Mapping
from typing import Generic, TypeVarTuple

import anyio
from sqlalchemy import Row, Select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.errors import NotReadyError

CLOSE_SECONDS = 1.0
Columns = TypeVarTuple("Columns")


class Poll(Generic[*Columns]):
    """Asks one question; for one task."""

    def __init__(self, engine: AsyncEngine, question: Select[*Columns]) -> None:
        """Connect when it is asked first."""
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._question = question
        self._connection: AsyncConnection | None = None

    async def ask(self, given: Mapping[str, object] | None = None) -> Row[*Columns] | None:
        """Return the one row that there is now, if any; `given` is what the question leaves open.

        Raises:
            NotReadyError: The database is down, or was: the next time is on a new connection.
        """
        try:
            if self._connection is None:
                self._connection = await self._engine.connect()
            return (await self._connection.execute(self._question, given)).one_or_none()
        except (SQLAlchemyError, OSError) as error:
            await self.close()
            raise NotReadyError("The database did not answer") from error
        except BaseException:  # Cancelled while an answer is on its way, which would be the next's.
            await self.close()
            raise

    async def close(self) -> None:
        """End the connection, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            try:
                await connection.invalidate()
            finally:
                await connection.close()
