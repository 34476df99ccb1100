"""The route class of the admin API: what goes around a handler and its dependencies."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from gateway.controlplane.access import control_plane
from gateway.controlplane.idempotency import HEADER, AnsweredBefore, Once, keep, release
from gateway.controlplane.steps import may_end


class AdminRoute(APIRoute):
    """Turns away who has asked enough, and keeps the answer to a POST with an idempotency key.

    The latter in the transaction of its change.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with what goes around it."""
        handle = super().get_route_handler()
        path = self.path_format.removeprefix("/admin/v1")

        async def handle_once(request: Request) -> Response:
            if not may_end(request.method, path):
                control_plane(request).pace.check(request, time.monotonic())
            if request.method != "POST" or HEADER not in request.headers:
                return await handle(request)
            database = control_plane(request).database
            try:
                async with database.transaction() as session:
                    # `open_session` hands it to the handler; it is committed here. Nothing of it
                    # is written before the key is reserved: SQLite has but one writer at a time.
                    session.autoflush = False
                    request.state.session = session
                    response = await handle(request)
                    await keep(session, _once(request), response)
            except AnsweredBefore as before:
                return before.response
            except BaseException:
                if getattr(request.state, "once", None) is not None:
                    await release(database, _once(request))
                raise
            return response

        return handle_once


def _once(request: Request) -> Once:
    once = request.state.once
    assert isinstance(once, Once)  # noqa: S101 - every admin route authenticates, which reserves
    return once
