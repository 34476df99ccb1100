"""The notary: signs the log's newest state every few seconds, and has a witness cosign it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import aiohttp
from sqlalchemy import update

from gateway.audit.checkpoint import Note, SignerKey, VerifierKey, is_signed, parse_note
from gateway.audit.log import prove_consistency, sign_head
from gateway.audit.witness import Answer, Submission, format_submission
from gateway.db import Database
from gateway.errors import AuditFileError
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.tables import AuditCheckpoint
from gateway.trouble import Trouble

WITNESS_TIMEOUT = aiohttp.ClientTimeout(total=5)
MAX_ANSWER_BYTES = 16 * 1024
log = logging.getLogger(__name__)


class Notary:
    """Signs checkpoints; what a witness refuses is an alarm, and stays in the log uncosigned."""

    def __init__(
        self,
        database: Database,
        signer: SignerKey,
        client: aiohttp.ClientSession,
        metrics: Metrics,
        settings: Settings,
        on_other: Callable[[int, bool], Awaitable[None]],
    ) -> None:
        """Sign nothing until `run`.

        `on_other` is told when the witness has cosigned more entries than are here, or others.
        """
        self._database = database
        self._signer = signer
        self._client = client
        self._metrics = metrics
        self._on_other = on_other
        self._seconds = settings.audit_checkpoint_seconds
        self._url = settings.audit_witness_url
        key = settings.audit_witness_key
        self._witness = VerifierKey.parse(key) if key is not None else None
        self._witnessed = 0
        self._trouble = Trouble(log, "the audit log's state could not be notarised")

    async def run(self) -> None:
        """Sign and show, for ever."""
        while True:
            try:
                note = await self.notarise()
                self._metrics.health.audit_entries.set(note.checkpoint.size)
                self._metrics.health.audit_signed.set_to_current_time()
                self._trouble.worked()
            except Exception:  # noqa: BLE001 - its kind is logged.
                # Whatever it was: the next round tries again, and the metric says so.
                self._metrics.audit_witness_failures.inc()
                self._trouble.failed()
            await asyncio.sleep(self._seconds)

    async def notarise(self) -> Note:
        """Sign the newest state, have it cosigned, keep both.

        Raises:
            AuditFileError: The witness refuses it, or its answer is no cosignature.
        """
        async with self._database.transaction() as session:
            note = await sign_head(session, self._signer, datetime.now(UTC))
        witness = self._witness
        if witness is None or note.checkpoint.size == 0 or is_signed(note, witness):
            return note
        answer = await self._submit(note)
        if answer.status == 409:
            # Another replica, or this one before a restart, was there; the witness says how far.
            self._witnessed = int(answer.body)
            answer = await self._submit(note)
        if answer.status == 422:
            await self._on_other(self._witnessed, True)
        if answer.status != 200:
            raise AuditFileError(f"the witness refuses the checkpoint: {answer.status}")
        cosigned = parse_note(note.text + answer.body)
        if not is_signed(cosigned, witness):
            raise AuditFileError("the witness's answer is no cosignature")
        async with self._database.transaction() as session:
            await session.execute(
                update(AuditCheckpoint)
                .where(AuditCheckpoint.size == note.checkpoint.size)
                .values(note=cosigned.text)
            )
        self._witnessed = note.checkpoint.size
        return cosigned

    async def _submit(self, note: Note) -> Answer:
        size = note.checkpoint.size
        if self._witnessed > size:
            await self._on_other(self._witnessed, False)
            # A replica that is ahead has had a newer state cosigned; this one is covered by it.
            raise AuditFileError(f"the witness has seen {self._witnessed} entries, here are {size}")
        async with self._database.transaction() as session:
            proof = await prove_consistency(session, self._witnessed, size)
        body = format_submission(Submission(self._witnessed, proof, note))
        async with self._client.post(
            f"{self._url}/add-checkpoint", data=body.encode(), timeout=WITNESS_TIMEOUT
        ) as response:
            text = (await response.content.read(MAX_ANSWER_BYTES)).decode()
            return Answer(response.status, text)
