"""The data plane's side of the log: an intent before a request is sent on, its outcome after.

Requests to public checkpoints are not recorded one by one; metrics count them.
"""

import hashlib
import hmac
from datetime import UTC, datetime

from gateway.audit.entry import Entry
from gateway.audit.intents import DENIED, ENDED, Draft, Intent
from gateway.audit.writer import Writer


class Recorder:
    """Records requests; without its word none is sent to a checkpoint that knows a hazard."""

    def __init__(self, writer: Writer[Draft], commitment_key: bytes) -> None:
        """Record through `writer`; commit to bodies under `commitment_key`."""
        self._writer = writer
        self._commitment_key = commitment_key

    async def intend(
        self,
        request_id: str,
        *,
        person_id: str,
        key_id: str,
        path: str,
        family: str,
        label: str,
        checkpoint: str,
        domains: frozenset[str],
        body: bytes,
    ) -> None:
        """Return when it is durable that a request is about to be sent on.

        Args:
            request_id: Of the request.
            person_id: Who asks.
            key_id: By which key.
            path: Of the endpoint.
            family: Of models.
            label: With the family, the alias that answers.
            checkpoint: The digest that answers.
            domains: The hazards that it still knows.
            body: The request's; only a keyed commitment to it is kept.

        Raises:
            AuditUnavailableError: It is not durable: the request must not be sent on.
            GrantRevokedError: The database knows of no grants that cover it.
            ReleaseWithdrawnError: Nor of a release that counts.
        """
        commitment = commit(self._commitment_key, request_id, body)
        await self._writer.write(
            Intent(
                datetime.now(UTC),
                request_id,
                person_id,
                key_id,
                path,
                family,
                label,
                checkpoint,
                domains,
                commitment,
            )
        )

    def end(
        self,
        request_id: str,
        *,
        person_id: str,
        outcome: str,
        prompt_tokens: int,
        completion_tokens: int,
    ) -> None:
        """Record how a request that was intended has ended; never waits, never fails."""
        detail = {
            "completion_tokens": completion_tokens,
            "outcome": outcome,
            "prompt_tokens": prompt_tokens,
        }
        entry = Entry(datetime.now(UTC), f"person:{person_id}", ENDED, request_id, detail)
        self._writer.write_soon(entry, even_if_full=True)

    def deny(
        self, request_id: str, *, person_id: str, key_id: str, name: str, missing: tuple[str, ...]
    ) -> None:
        """Record that a caller's grants do not cover what was asked for; does not wait.

        Raises:
            AuditUnavailableError: Too much is waiting already; the caller is refused all the same.
        """
        detail = {"key": key_id, "missing": sorted(missing), "model": name}
        self._writer.write_soon(
            Entry(datetime.now(UTC), f"person:{person_id}", DENIED, request_id, detail)
        )


def commit(key: bytes, request_id: str, body: bytes) -> str:
    """Return the keyed commitment to a body.

    The id is part of it, so that two equal bodies do not look equal.
    """
    return hmac.new(key, request_id.encode() + b"\x00" + body, hashlib.sha256).hexdigest()
