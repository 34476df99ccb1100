"""A database that answers nothing, neither transactions nor polls, and answers again."""

from collections.abc import Mapping

from gateway.app import Gateway
from gateway.errors import NotReadyError


def silence(gateway: Gateway) -> None:
    """Have a gateway's answer nothing."""

    def no_transaction() -> None:
        raise NotReadyError

    async def no_answer(_: Mapping[str, object] | None = None) -> None:
        raise NotReadyError

    for database in (gateway.database, gateway.own_database):
        vars(database)["transaction"] = no_transaction
        for poll in database._polls:
            vars(poll)["ask"] = no_answer


def end_silence(gateway: Gateway) -> None:
    """Have it answer again, if it did not."""
    for database in (gateway.database, gateway.own_database):
        vars(database).pop("transaction", None)
        for poll in database._polls:
            vars(poll).pop("ask", None)
