"""One request to the data plane and what is known of it so far: for its headers and metrics."""

import time
from dataclasses import dataclass, field

from gateway.audit.recorder import Caller
from gateway.contents.keeping import Kept
from gateway.dataplane import intake
from gateway.dataplane.http import Send, send_error
from gateway.dataplane.limits import Reservation
from gateway.dataplane.outcome import Outcome
from gateway.errors import AirlockError
from gateway.metrics import OTHER


@dataclass
class Call:
    """One request, and what is known of it so far."""

    request_id: str
    path: str
    started_at: float
    alias: str = OTHER
    tier: str = OTHER
    headers: dict[str, str] | None = None
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
    error: AirlockError | None = None
    """Why there is no answer."""

    def answer_headers(self) -> dict[str, str]:
        """The headers that every answer carries."""
        known = {**intake.id_headers(self.path, self.request_id), **(self.headers or {})}
        if self.reservation is not None:
            known.update(self.reservation.headers())
        return known

    async def send_error(self, send: Send, error: AirlockError) -> None:
        """Send an error in the shape of the API that was called."""
        milliseconds = round((time.monotonic() - self.started_at) * 1000)
        headers = {**self.answer_headers(), "openai-processing-ms": str(milliseconds)}
        await send_error(send, error, headers, intake.fault_body(self.path, error))
