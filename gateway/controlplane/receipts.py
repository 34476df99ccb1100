"""Makes receipts: `GET /v1/receipts/{request id}`, for who asked, and any of them for auditors."""

from datetime import datetime

import anyio.to_thread
from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import clock
from gateway.audit.checkpoint import Note, SignerKey, parse_note
from gateway.audit.entry import read_leaf
from gateway.audit.intents import ENDED, INTENDED
from gateway.audit.log import prove_inclusion, sign_head
from gateway.audit.receipts import ProvenEntry, Receipt
from gateway.controlplane.access import Now, Parts, Session, Vouched, by_key
from gateway.controlplane.changes import Tag
from gateway.controlplane.keyholders import Holder, check_address
from gateway.controlplane.permissions import READERS
from gateway.controlplane.routes import ERRORS
from gateway.controlplane.steps import duties
from gateway.errors import NotFoundError
from gateway.identity.api_keys import parse
from gateway.identity.directory import load_single_key
from gateway.identity.principal import Member
from gateway.policy.scopes import Scope
from gateway.tables import AuditCheckpoint, AuditEntry
from models.errors import RegistryError
from models.release import PUBLIC_LABEL, Release, release_path, versions
from models.signing import peek
from models.store import CheckpointStore

router = APIRouter(prefix="/v1", tags=["audit"], responses=ERRORS)


# Not part of the admin API, whose document this application has; docs/audit.md describes it.
@router.get("/receipts/{request_id}", include_in_schema=False)
async def get_receipt(
    request_id: str, request: Request, session: Session, parts: Parts, vouched: Vouched, now: Now
) -> Receipt:
    """Give the receipt of a base request: to the person who made it, or to who reads all."""
    authorization = request.headers.get("authorization")
    parsed = parse((authorization or "").partition(" ")[2].strip())
    if parsed is not None and parsed.kind == "key":
        directory = await load_single_key(session, parts.peppers, authorization)
        principal = directory.authenticate(authorization, clock.now())
        holder = Holder(Member(principal.key_id, principal.person_id), principal.terms)
        await check_address(parts.database, parts.gate, holder, request.scope)
        mine = holder.caller.actor
        return await make_receipt(session, parts.store, parts.signer, request_id, mine, now)
    caller = vouched or await by_key(request, parts, session)
    may_read = caller.rights is None or Scope.READ in caller.rights.scopes
    reads_all = may_read and bool(await duties(session, caller) & READERS)
    owner = None if reads_all else caller.actor
    return await make_receipt(session, parts.store, parts.signer, request_id, owner, now)


async def make_receipt(
    session: AsyncSession,
    store: CheckpointStore,
    signer: SignerKey,
    request_id: str,
    owner: str | None,
    now: datetime,
) -> Receipt:
    """Return a request's receipt.

    Args:
        session: The transaction.
        store: Where releases and reports are.
        signer: The log's key.
        request_id: Of a request to a checkpoint that is not public.
        owner: Whose it must be; None for anybody's.
        now: When.

    Raises:
        NotFoundError: There is no such request, it is another person's, or its release or report
            is not in the store any more.
    """
    rows = list(
        await session.scalars(
            select(AuditEntry).where(AuditEntry.subject == request_id).order_by(AuditEntry.seq)
        )
    )
    intent = next((row for row in rows if row.tag == INTENDED), None)
    # Another person's request is not there, rather than forbidden: its id says nothing.
    # A public one that its tier has logged rests on no grants, and has nothing to prove.
    if intent is None or owner not in (None, intent.actor) or not _rests_on_grants(intent):
        raise NotFoundError(f"There is no receipt for '{request_id[:100]}'.")
    outcome = next((row for row in rows if row.tag == ENDED), None)
    detail = read_leaf(intent.leaf).entry.detail
    made = [await _maker(session, each) for each in _grant_ids(detail)]
    needed = [intent.seq, *made, *([outcome.seq] if outcome else [])]
    note = await _checkpoint(session, signer, max(needed), now)
    papers = await anyio.to_thread.run_sync(_papers, store, detail)

    async def prove(seq: int) -> ProvenEntry:
        return ProvenEntry.of(await prove_inclusion(session, seq, note.checkpoint.size))

    return Receipt(
        request_id=request_id,
        checkpoint=note.text,
        intent=await prove(intent.seq),
        outcome=await prove(outcome.seq) if outcome else None,
        grants=tuple([await prove(seq) for seq in made]),
        release=papers[0],
        public_release=papers[1],
        report=papers[2],
    )


def _rests_on_grants(intent: AuditEntry) -> bool:
    return bool(_grant_ids(read_leaf(intent.leaf).entry.detail))


def _grant_ids(detail: object) -> list[str]:
    named = detail["grants"] if isinstance(detail, dict) else []
    return [str(grant["id"]) for grant in named]


async def _maker(session: AsyncSession, grant_id: str) -> int:
    """Return the number of the entry that made a grant."""
    query = (
        select(AuditEntry.seq)
        .where(AuditEntry.subject == grant_id, AuditEntry.tag == str(Tag.GRANT_CREATED))
        .order_by(AuditEntry.seq)
    )
    found: int | None = await session.scalar(query.limit(1))
    if found is None:
        raise NotFoundError(f"There is no entry about the grant '{grant_id}'.")
    return found


async def _checkpoint(session: AsyncSession, signer: SignerKey, seq: int, now: datetime) -> Note:
    """Return the newest kept checkpoint, which a witness may have seen, if it covers an entry."""
    query = select(AuditCheckpoint).order_by(AuditCheckpoint.size.desc()).limit(1)
    kept = await session.scalar(query)
    if kept is not None and kept.size > seq:
        return parse_note(kept.note)
    return await sign_head(session, signer, now)


def _papers(store: CheckpointStore, detail: object) -> tuple[str, str | None, str]:
    """Return the release's envelope, that of the public one if it is needed, and the report's."""
    assert isinstance(detail, dict)  # noqa: S101 - `read_leaf` gives nothing else
    family, _, label = str(detail["alias"]).partition(":")
    try:
        for raw, release in _releases(store, family, label):
            if release.document_digest != detail["release"]:
                continue
            if release.verdict is not None:
                report = store.report_path(release.verdict.report).read_text()
                return raw, None, report
            for public_raw, public in _releases(store, family, PUBLIC_LABEL):
                if public.verdict is None:
                    continue
                if store.get_report(public.verdict.report).base == release.checkpoint:
                    report = store.report_path(public.verdict.report).read_text()
                    return raw, public_raw, report
    except (OSError, RegistryError) as error:
        raise NotFoundError("A release or report of the receipt cannot be read.") from error
    raise NotFoundError("The store no longer has the release or report of the receipt.")


def _releases(store: CheckpointStore, family: str, label: str) -> list[tuple[str, Release]]:
    """Return an alias's releases, the newest first."""
    found = []
    for version in reversed(versions(store, family, label)):
        raw = release_path(store, family, label, version).read_text()
        found.append((raw, peek(raw.encode(), Release)))
    return found
