"""Import of people: known by issuer and subject, done once, and never wider than before.

What an import does is what one administrator may do alone and what opens nothing: it adds people
without rights, evidence that nobody has accepted yet, and drafts of applications in the place of
grants; and it suspends. Everything that would open something is left out, and the answer says so.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime

from pydantic import ValidationError

from gateway.controlplane.changes import Tag, record_event
from gateway.controlplane.imported_person import Line, import_person
from gateway.controlplane.transfer_schemas import ImportOut, LineOut, PersonRecord
from gateway.db import Database
from gateway.errors import InvalidRequestError

MAX_LINES = 10_000


class _DryRunError(Exception):
    """Undoes the transaction of a line that was only tried."""


async def import_lines(
    database: Database,
    lines: Sequence[bytes],
    *,
    issuers: Collection[str],
    actor: str,
    now: datetime,
    dry_run: bool,
) -> ImportOut:
    """Import people, each in a transaction of their own: done again, what was done is left alone.

    Args:
        database: Where to.
        lines: One JSON object each.
        issuers: Whose identities may be bound.
        actor: Who imports.
        now: The moment.
        dry_run: Whether everything is undone again.

    Raises:
        NotReadyError: The database is down.
    """
    shown: list[LineOut] = []
    seen: set[tuple[str, str]] = set()
    async for number, line in _each(database, lines, issuers, seen, actor, now, dry_run=dry_run):
        shown.append(
            LineOut(
                line=number,
                person_id=line.person_id,
                outcome=line.outcome,
                did=line.did,
                left=line.left,
            )
        )
    counts = {
        outcome: sum(line.outcome == outcome for line in shown)
        for outcome in ("made", "changed", "unchanged", "refused")
    }
    if not dry_run:
        async with database.transaction() as session:
            await record_event(
                session, Tag.PEOPLE_IMPORTED, "people", actor=actor, now=now, **counts
            )
    return ImportOut(dry_run=dry_run, lines=shown, **counts)


async def _each(
    database: Database,
    lines: Sequence[bytes],
    issuers: Collection[str],
    seen: set[tuple[str, str]],
    actor: str,
    now: datetime,
    *,
    dry_run: bool,
) -> AsyncIterator[tuple[int, Line]]:
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        line = Line()
        try:
            record = PersonRecord.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "line"
            line.refuse(f"{place}: {first['msg']}"[:300])
            yield number, line
            continue
        named = {(one.issuer, one.subject) for one in record.identities}
        if len(named) < len(record.identities):
            line.refuse("it has one identity twice")
            yield number, line
            continue
        if named & seen:
            line.refuse("an earlier line has the same identity")
            yield number, line
            continue
        seen |= named
        try:
            async with database.transaction() as session:
                await import_person(session, record, line, issuers, actor, now)
                if dry_run:
                    raise _DryRunError
        except InvalidRequestError as error:
            line = Line()  # Nothing of it was done.
            line.refuse(str(error))
        except _DryRunError:
            if line.outcome == "made":
                line.person_id = None  # It was the id of one who is not there any more.
        yield number, line
