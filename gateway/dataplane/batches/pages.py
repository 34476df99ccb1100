"""Lists in pages: which part of a list a query asks for, and how the answer says what follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl

from sqlalchemy import Select, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.dataplane.http import Scope
from gateway.errors import InvalidRequestError, UnsupportedParameterError
from gateway.tables import Batch, StoredFile

Row = TypeVar("Row", StoredFile, Batch)


@dataclass(frozen=True)
class Page:
    """What is asked for."""

    after: str | None
    limit: int
    is_ascending: bool
    purpose: str | None


def read_page(scope: Scope, allowed: Sequence[str], most: int, usual: int) -> Page:
    """Return what a query string asks for.

    Args:
        scope: The request's.
        allowed: The parameters that there are.
        most: The longest page.
        usual: The page's length without a word about it.

    Raises:
        InvalidRequestError: A parameter has a value that it cannot have.
        UnsupportedParameterError: There is no such parameter.
    """
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = dict(pairs)
    for name in given:
        if name not in allowed:
            raise UnsupportedParameterError(name[:200])
    if len(given) != len(pairs):
        raise InvalidRequestError("A parameter may come once only.")
    limit = given.get("limit", str(usual))
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 9 and 1 <= int(limit) <= most):
        raise InvalidRequestError(f"'limit' is from 1 to {most}.", "limit")
    order = given.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequestError("'order' is asc or desc.", "order")
    return Page(given.get("after"), int(limit), order == "asc", given.get("purpose"))


async def list_files(session: AsyncSession, person_id: str, page: Page) -> list[StoredFile]:
    """Return one file more than the page has, if there is one.

    Raises:
        InvalidRequestError: The page comes after a file that is not there.
    """
    query = select(StoredFile).where(StoredFile.person_id == person_id)
    if page.purpose is not None:
        query = query.where(StoredFile.purpose == page.purpose)
    return await _cut(session, query, StoredFile, person_id, page)


async def list_batches(session: AsyncSession, person_id: str, page: Page) -> list[Batch]:
    """Return one batch more than the page has, if there is one.

    Raises:
        InvalidRequestError: The page comes after a batch that is not there.
    """
    query = select(Batch).where(Batch.person_id == person_id)
    return await _cut(session, query, Batch, person_id, page)


async def _cut(
    session: AsyncSession, query: Select[Row], kind: type[Row], person_id: str, page: Page
) -> list[Row]:
    place = tuple_(kind.created_at, kind.id)
    if page.after is not None:
        last = await session.get(kind, page.after)
        if last is None or last.person_id != person_id:
            raise InvalidRequestError("There is nothing of that id.", "after")
        bound = tuple_(last.created_at, last.id)
        query = query.where(place > bound if page.is_ascending else place < bound)
    order = (kind.created_at, kind.id)
    ordered = order if page.is_ascending else tuple(column.desc() for column in order)
    return list(await session.scalars(query.order_by(*ordered).limit(page.limit + 1)))


def page_object(objects: list[dict[str, object]], limit: int) -> dict[str, object]:
    """Return a page as clients see it, of one object more than it has."""
    shown = objects[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(objects) > limit,
    }
