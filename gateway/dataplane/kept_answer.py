"""An answer whose contents are kept: whoever it is written to, what is written is taken in too."""

from collections.abc import Callable

from gateway.contents.keeping import Kept
from gateway.dataplane.http import Recipient


class KeptAnswer:
    """Writes on to a caller, and keeps the body of what it writes."""

    def __init__(self, kept: Kept, to: Recipient) -> None:
        """Keep in `kept` what is written to `to`."""
        self._kept = kept
        self._to = to

    @property
    def on_gone(self) -> Callable[[], None] | None:
        """The caller's own."""
        return self._to.on_gone

    @on_gone.setter
    def on_gone(self, call: Callable[[], None] | None) -> None:
        self._to.on_gone = call

    @property
    def on_flow(self) -> Callable[[bool], None] | None:
        """The caller's own."""
        return self._to.on_flow

    @on_flow.setter
    def on_flow(self, call: Callable[[bool], None] | None) -> None:
        self._to.on_flow = call

    @property
    def disconnected(self) -> bool:
        """Whether the caller has left."""
        return self._to.disconnected

    @property
    def is_paused(self) -> bool:
        """Whether no more should be written now."""
        return self._to.is_paused

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        """Write a whole answer."""
        self._kept.take(body)
        self._to.whole(status, fields, body)

    def begin(self, status: int, fields: bytes, data: bytes) -> None:
        """Write a head and the first of the body."""
        self._kept.take(data)
        self._to.begin(status, fields, data)

    def write(self, data: bytes) -> None:
        """Write more of the body."""
        self._kept.take(data)
        self._to.write(data)

    def end(self) -> None:
        """End the answer."""
        self._to.end()

    async def drain(self) -> None:
        """Return when more should be written."""
        await self._to.drain()
