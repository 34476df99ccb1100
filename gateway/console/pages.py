"""The console's files: the same for everybody, without a word of anybody's in them.

What a page shows it asks the admin API for, by its reader's session; the API alone decides what
somebody may see and do. So these files need no login, and hold no right.
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

HOME = "/console/"
FILES = Path(__file__).with_name("static")
HEADERS = {
    # Asked for anew each time, and answered with 304: a page never runs with a script of before.
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Pages(StaticFiles):
    """Serves the files, with what browsers are to keep to."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or 304."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


async def _to_console(_: object) -> Response:
    return RedirectResponse(HOME, 307)


def answer_console(app: Starlette) -> None:
    """Add the console, and the way to it from where a browser arrives."""
    app.router.routes += [
        *(Route(path, _to_console, include_in_schema=False) for path in ("/", HOME.rstrip("/"))),
        Mount(HOME.rstrip("/"), Pages(directory=FILES, html=True)),
    ]
