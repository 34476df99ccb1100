"""A database that answers nothing, neither transactions nor polls, and answers again."""

from collections.abc import Mapping

from gateway.db import Database
from gateway.errors import NotReadyError


def silence(database: Database) -> None:
    """Have it answer nothing."""

    def no_transaction() -> None:
        raise NotReadyError

    async def no_answer(_: Mapping[str, object] | None = None) -> None:
        raise NotReadyError

    vars(database)["transaction"] = no_transaction
    for poll in database._polls:
        vars(poll)["ask"] = no_answer


def end_silence(database: Database) -> None:
    """Have it answer again, if it did not."""
    vars(database).pop("transaction", None)
    for poll in database._polls:
        vars(poll).pop("ask", None)
