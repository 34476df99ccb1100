"""The outbox: rows that a change of state leaves behind in its own transaction.

Nothing is sent here, and nothing here can fail but the database: after the commit `postman` sends.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.policy.notices import MAIL_ONLY, Event
from gateway.tables import Notice, Webhook


@dataclass(frozen=True)
class To:
    """Who is told beside the programs that want to be."""

    people: frozenset[str] = frozenset()
    organisations: frozenset[str] = frozenset()


async def put(
    session: AsyncSession,
    event: Event,
    subject: str,
    to: To,
    data: Mapping[str, object],
    *,
    now: datetime,
    once: str | None = None,
) -> None:
    """Leave one notice for each recipient.

    Args:
        session: The transaction of what has happened.
        event: What it was.
        subject: The id of what it happened to.
        to: Who is told.
        data: Ids, states, domains and moments: nothing that anybody has written, no name, no
            secret, since it leaves the house.
        now: When.
        once: What this very notice is called where it must not be left twice.
    """
    recipients: list[dict[str, str | None]] = [
        {"person_id": person} for person in sorted(to.people)
    ]
    recipients += [{"organisation_id": each} for each in sorted(to.organisations)]
    if event not in MAIL_ONLY:
        hooks = await session.execute(
            select(Webhook.id, Webhook.events).where(Webhook.ended_at.is_(None))
        )
        recipients += [
            {"webhook_id": hook} for hook, wanted in hooks if not wanted or event in wanted
        ]
    if not recipients:
        return
    rows = []
    for recipient in recipients:
        (who,) = recipient.values()
        rows.append(
            {"person_id": None, "organisation_id": None, "webhook_id": None}
            | recipient
            | {
                "id": str(uuid.uuid4()),
                "event": str(event),
                "subject": subject,
                "data": dict(data),
                "once": None if once is None else f"{once}:{who}",
                "created_at": now,
                "state": "waiting",
                "next_at": now,
                "claim": 0,
                "attempts": 0,
            }
        )
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    # Two gateways look for reminders at the same time: the second finds the first one's.
    await session.execute(insert(Notice).on_conflict_do_nothing(index_elements=["once"]), rows)
