"""The queue in front of a checkpoint's engines: bounded, by priority, and none waits for ever.

Engines batch what they are given; beyond so many requests each, more only wait inside of them,
where nobody can choose. Here researchers go before the public, and the public before batches; when
the queue is full, whoever has come last of the lowest priority is sent away.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.errors import OverloadedError
from gateway.settings import Settings

Place = tuple[int, int, "asyncio.Future[None]"]
"""Priority (the lowest goes first), order of arrival, and what the waiting request waits for."""


@dataclass
class _Queue:
    """One checkpoint's."""

    running: int = 0
    waiting: list[Place] = field(default_factory=list)
    """A heap."""


class Admission:
    """Lets requests through to engines."""

    def __init__(self, settings: Settings, engines: Callable[[str], int]) -> None:
        """Start empty; `engines` says how many serve a checkpoint now."""
        self._settings = settings
        self._engines = engines
        self._queues: dict[str, _Queue] = {}
        self._arrivals = itertools.count()

    def waiting(self) -> int:
        """Return how many wait."""
        return sum(len(queue.waiting) for queue in self._queues.values())

    async def enter(self, digest: str, priority: int) -> None:
        """Return when a request may go to an engine; `leave` must follow.

        Raises:
            OverloadedError: Too many wait, or it has waited for too long.
        """
        if not self.enter_now(digest):
            await self.wait(digest, priority)

    def enter_now(self, digest: str) -> bool:
        """Whether a request may go to an engine without waiting; then `leave` must follow."""
        queue = self._queues.get(digest)
        if queue is None:
            queue = self._queues[digest] = _Queue()
        has_room = (
            # What one engine takes is there whatever their number; they are counted beyond it.
            queue.running < self._settings.engine_max_in_flight
            or queue.running < self._capacity(digest)
        )
        if not has_room or queue.waiting:
            return False
        queue.running += 1
        return True

    async def wait(self, digest: str, priority: int) -> None:
        """Return when it is the turn of a request that could not enter; `leave` must follow.

        Raises:
            OverloadedError: Too many wait, or it has waited for too long.
        """
        queue = self._queues[digest]
        place = (priority, next(self._arrivals), asyncio.get_running_loop().create_future())
        if len(queue.waiting) >= self._settings.queue_limit:
            self._make_room(queue, place)
        heapq.heappush(queue.waiting, place)
        try:
            async with asyncio.timeout(self._settings.queue_seconds):
                await place[2]
        except BaseException as error:
            self._give_up(digest, queue, place)
            if isinstance(error, TimeoutError):
                raise OverloadedError from error
            raise

    def leave(self, digest: str) -> None:
        """Give the place to whoever is next."""
        queue = self._queues[digest]
        queue.running -= 1
        self._call(digest, queue)

    def _capacity(self, digest: str) -> int:
        # With no engine the pool says so at once: there is nothing to wait for.
        return self._settings.engine_max_in_flight * max(1, self._engines(digest))

    def _call(self, digest: str, queue: _Queue) -> None:
        while queue.waiting and queue.running < self._capacity(digest):
            _, _, waiter = heapq.heappop(queue.waiting)
            if not waiter.done():
                queue.running += 1
                waiter.set_result(None)

    def _make_room(self, queue: _Queue, place: Place) -> None:
        last = max(queue.waiting, key=lambda other: other[:2])
        if last[0] <= place[0]:
            raise OverloadedError
        queue.waiting.remove(last)
        heapq.heapify(queue.waiting)
        if not last[2].done():
            last[2].set_exception(OverloadedError())

    def _give_up(self, digest: str, queue: _Queue, place: Place) -> None:
        """Leave the queue; a request that ends just as it is called passes its place on."""
        waiter = place[2]
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.leave(digest)
        elif place in queue.waiting:
            queue.waiting.remove(place)
            heapq.heapify(queue.waiting)
