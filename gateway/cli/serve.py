"""`airlock serve`: serve the gateway."""

import argparse
import contextlib
import gc
import resource
import sys
from functools import partial

import anyio
import uvicorn

from gateway.app import create_app
from gateway.db import Database, database_url, sole_gateway
from gateway.logs import set_up_logs
from gateway.server import ServerProtocol
from gateway.settings import Settings
from models.cli.numbers import port

STARTUP_FAILURE, FAILURE = 3, 1
SWITCH_SECONDS = 0.0005
"""After how long a thread that computes lets the event loop go on: releases and signatures are
looked at beside it every second, and requests would wait for the interpreter's usual 5 ms."""
OTHER_FILES = 1024
"""Beside those of requests: the database's, what is imported, what callers upload."""
EXAMPLES = """\
Settings come from the file that AIRLOCK_CONFIG_FILE names and from AIRLOCK_* variables.
docs/settings.md lists them; `airlock config check` checks them.

examples:
  airlock serve
  airlock serve --host 0.0.0.0 --port 8000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("--host", help="address to listen on (default: $AIRLOCK_HOST or 127.0.0.1)")
    parser.add_argument(
        "--port", type=port, help="port to listen on (default: $AIRLOCK_PORT or 8000)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings = Settings(home=args.home)
    set_up_logs(settings.log_level)
    allow_files(settings.max_open_requests)
    with sole_gateway(database_url(settings)):
        # The server would say with a traceback what is wrong with the database.
        anyio.run(_look_at_database, settings)
        return _serve(
            settings, args.host or settings.host, settings.port if args.port is None else args.port
        )


def allow_files(requests: int) -> None:
    """Let this process open what so many requests take, as far as the hard limit allows.

    Each takes two connections, the caller's and the engine's. The usual soft limit of 1024, which
    is for programs that use `select`, would be reached at 500 streams.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * requests + OTHER_FILES
    enough = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if resource.RLIM_INFINITY != soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


async def _look_at_database(settings: Settings) -> None:
    async with Database(settings) as database:
        await database.prepare(settings)


def _serve(settings: Settings, host: str, port: int) -> int:
    app = create_app(settings)
    # Going through what was imported again and again, for garbage that is not there, would take a
    # fifth of the CPU of a request. A request leaves hardly any cycles behind.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(SWITCH_SECONDS)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=ServerProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        # The server would believe any proxy on this host; `identity.addresses` believes those that
        # the settings name.
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.drain_seconds),
    )
    server = uvicorn.Server(config)
    app.on_failure = partial(setattr, server, "should_exit", True)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        return STARTUP_FAILURE
    return FAILURE if app.has_failed else 0
