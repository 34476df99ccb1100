"""One request to the data plane and what is known of it so far: for its headers and metrics."""

import time

from msgspec import Struct, field

from gateway.audit.recorder import Caller
from gateway.contents.keeping import Kept
from gateway.dataplane import intake
from gateway.dataplane.endpoints import ENDPOINTS
from gateway.dataplane.http import Recipient, check_lines, write_error
from gateway.dataplane.limits import Reservation
from gateway.dataplane.outcome import Outcome
from gateway.errors import AirlockError, OverloadedError
from gateway.http_errors import http_error
from gateway.metrics import OTHER
from gateway.tracing import Trace


class Call(Struct, eq=False):
    """One request, and what is known of it so far."""

    request_id: str
    path: str
    started_at: float
    alias: str = OTHER
    tier: str = ""
    """The caller's, once they are known."""
    checkpoint: str = ""
    """The digest of the one that answers, once it is chosen."""
    reservation: Reservation | None = None
    intended_by: Caller | None = None
    """Who asks, once it is in the audit log that the request is about to be sent on."""
    kept: Kept | None = None
    """Its contents, where they are kept."""
    outcome: Outcome = field(default_factory=Outcome)
    is_batch: bool = False
    """Whether it is a line of a batch: it goes after every live request, and has no stream."""
    door: str | None = None
    """Of a line: the alias that answers it, whatever its model's name would lead to now."""
    domains: frozenset[str] = frozenset()
    """Of a line: the hazard domains that the checkpoint knows which answers."""
    trace: Trace | None = None
    error: AirlockError | None = None
    """Why there is no answer."""

    def lines(self) -> str:
        """The headers that every answer carries, each a line of its head.

        Raises:
            ValueError: One of them would be more than a line.
        """
        text, count = intake.id_lines(self.path, self.request_id), 2
        if self.tier:
            text, count = f"{text}x-airlock-tier: {self.tier}\r\n", count + 1
        if self.checkpoint:
            text, count = f"{text}x-airlock-checkpoint: {self.checkpoint}\r\n", count + 1
        check_lines(text, count)
        return text if self.reservation is None else text + self.reservation.lines()

    def lines_now(self) -> str:
        """What `lines` says, and how long it took until now."""
        milliseconds = round((time.monotonic() - self.started_at) * 1000)
        return f"{self.lines()}openai-processing-ms: {milliseconds}\r\n"

    @property
    def is_fault(self) -> bool:
        """Whether it ended with a fault of ours, which the log says one by one.

        Being full is none: to turn requests away must stay cheap, and the metrics count them.
        """
        error = self.error or self.outcome.error
        if error is None or isinstance(error, OverloadedError):
            return False
        return http_error(error).status >= 500

    def log_context(self) -> dict[str, str]:
        """What every line of the log about it says."""
        if self.trace is None:
            return {"request_id": self.request_id}
        return {"request_id": self.request_id, "trace_id": self.trace.trace_id}

    def facts(self, label: str) -> dict[str, object]:
        """What the log says of it at its end; nothing that was said."""
        return {
            "path": self.path if self.path in ENDPOINTS else OTHER,
            "alias": self.alias,
            "tier": self.tier or OTHER,
            "outcome": label,
            "milliseconds": round((time.monotonic() - self.started_at) * 1000),
            "prompt_tokens": self.outcome.usage.prompt_tokens,
            "completion_tokens": self.outcome.usage.completion_tokens,
        }

    def end_trace(self, label: str) -> None:
        """End its spans."""
        if self.trace is None:
            return
        outcome, status = self.outcome, self.outcome.status
        if status is None and self.error is not None:
            status = http_error(self.error).status
        attributes: dict[str, str | int | float] = {
            "gen_ai.response.model": self.checkpoint,
            "gen_ai.usage.input_tokens": outcome.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": outcome.usage.completion_tokens,
            "airlock.tier": self.tier or OTHER,
        }
        if outcome.first_byte_at is not None:
            waited = outcome.first_byte_at - self.started_at
            attributes["gen_ai.response.time_to_first_chunk"] = waited
        self.trace.end(label, status, attributes)

    def write_json(self, to: Recipient, body: bytes) -> None:
        """Write an answer that no engine has given."""
        lines = f"{self.lines_now()}content-type: application/json\r\n"
        to.whole(200, lines.encode("latin-1"), body)

    def write_error(self, to: Recipient, error: AirlockError) -> None:
        """Write an error in the shape of the API that was called."""
        write_error(to, error, self.lines_now(), intake.fault_body(self.path, error))
