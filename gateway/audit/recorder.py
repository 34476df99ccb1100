"""The data plane's side of the log: an intent before a request is sent on, its outcome after.

Requests to public checkpoints are recorded one by one only where the caller's tier has it so;
metrics count them all.
"""

import hashlib
import hmac
from collections.abc import Mapping

from msgspec import Struct

from gateway import clock
from gateway.audit.entry import Entry
from gateway.audit.intents import DENIED, ENDED, KEY_REFUSED, Draft, Intent
from gateway.audit.writer import Writer
from gateway.policy.routing import Family, Routed, missing_grants

MOST_TOKENS = 2**53 - 1
"""The largest integer of canonical JSON."""


class Caller(Struct, frozen=True):
    """Who asks, by which key."""

    person_id: str
    key_id: str
    is_always_logged: bool = False
    """Whether the caller's tier has every request in the log, also to public checkpoints."""

    @property
    def actor(self) -> str:
        """The name in the log."""
        return f"person:{self.person_id}"


class Recorder:
    """Records requests; without its word none is sent to a checkpoint that knows a hazard."""

    def __init__(self, writer: Writer[Draft], commitment_key: bytes) -> None:
        """Record through `writer`; commit to bodies under `commitment_key`."""
        self._writer = writer
        self._commitment_key = commitment_key

    def must_intend(self, caller: Caller, family: Family, routed: Routed) -> bool:
        """Whether a request may be sent on only after `intend`."""
        return caller.is_always_logged or bool(missing_grants(family, routed.alias, frozenset()))

    async def intend(
        self,
        request_id: str,
        caller: Caller,
        path: str,
        family: Family,
        routed: Routed,
        body: bytes,
        kept: Mapping[str, str] | None = None,
    ) -> str:
        """Return when it is durable that a request is about to be sent on: its commitment.

        Args:
            request_id: Of the request.
            caller: Who asks.
            path: Of the endpoint.
            family: Of the checkpoint that answers, with all its hazards.
            routed: The checkpoint that answers.
            body: The request's; only a keyed commitment to it is kept.
            kept: What is said of its contents, where they are kept elsewhere.

        Raises:
            AuditUnavailableError: It is not durable: the request must not be sent on.
            GrantRevokedError: The database knows of no grants that cover it.
            ReleaseWithdrawnError: Nor of a release that counts.
        """
        commitment = commit(self._commitment_key, request_id, body)
        await self._writer.write(
            Intent(
                at=clock.now(),
                request_id=request_id,
                person_id=caller.person_id,
                key_id=caller.key_id,
                path=path,
                family=routed.family,
                label=routed.alias.label,
                checkpoint=routed.alias.checkpoint,
                domains=missing_grants(family, routed.alias, frozenset()),
                commitment=commitment,
                kept=kept,
            )
        )
        return commitment

    def end(
        self,
        request_id: str,
        caller: Caller,
        outcome: str,
        prompt_tokens: int,
        completion_tokens: int,
        kept: Mapping[str, str] | None = None,
    ) -> None:
        """Record how a request that was intended has ended; never waits, never fails."""
        # An engine's own counts: one beyond what an entry can hold would keep all others out.
        detail: dict[str, object] = {
            "completion_tokens": max(0, min(completion_tokens, MOST_TOKENS)),
            "outcome": outcome,
            "prompt_tokens": max(0, min(prompt_tokens, MOST_TOKENS)),
        }
        if kept is not None:
            detail["kept"] = dict(kept)
        entry = Entry(clock.now(), caller.actor, ENDED, request_id, detail)
        self._writer.write_soon(entry, even_if_full=True)

    def deny(self, request_id: str, caller: Caller, name: str, missing: tuple[str, ...]) -> None:
        """Record that a caller's grants do not cover what was asked for; does not wait.

        Raises:
            AuditUnavailableError: Too much is waiting already; the caller is refused all the same.
        """
        detail = {"key": caller.key_id, "missing": sorted(missing), "model": name}
        self._writer.write_soon(Entry(clock.now(), caller.actor, DENIED, request_id, detail))

    def refuse_address(self, request_id: str, caller: Caller, address: str) -> None:
        """Record that a key was used from where it may not be; does not wait.

        Raises:
            AuditUnavailableError: As `deny`.
        """
        detail = {"address": address, "request": request_id}
        entry = Entry(clock.now(), caller.actor, KEY_REFUSED, caller.key_id, detail)
        self._writer.write_soon(entry)


def commit(key: bytes, request_id: str, body: bytes) -> str:
    """Return the keyed commitment to a body.

    The id is part of it, so that two equal bodies do not look equal.
    """
    return hmac.new(key, request_id.encode() + b"\x00" + body, hashlib.sha256).hexdigest()
