"""Structured logs: one JSON object a line. Never a prompt, a completion, a key or a token.

What a line says of a request (its id, its trace) comes from `CONTEXT`. Nothing that callers send is
put into a message; that whatever looks like a secret is struck out as well is a second net.
"""

import datetime
import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Literal

import orjson

FIELDS = "airlock"
OURS = ("gateway", "models")
"""Whose level is set. What other libraries say below a warning quotes what they are given: SQL with
its values, headers, forms."""
SILENT = ("python_multipart",)
"""It warns of malformed forms and quotes bytes of them; who sent one is told so."""
CONTEXT: ContextVar[Mapping[str, str]] = ContextVar("airlock_log_context", default={})  # noqa: B039
"""What every line of the request that is being answered says; never changed in place."""
SECRET = re.compile(
    rb"airlock_(?:key|workflow|admin)_[0-9A-Za-z_]+"  # An API key.
    rb"|eyJ[\w-]+\.[\w-]+\.?[\w-]*"  # A token in JSON.
    rb"|(?i:bearer|basic) +[\w.~+/=-]{8,}"
    rb"|__Host-airlock_[a-z]+=[^;\s\"]+"
)
Level = Literal["debug", "info", "warning", "error"]


class JsonFormatter(logging.Formatter):
    """Formats a record, its `extra={"airlock": {…}}` fields and the type of its exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        line: dict[str, object] = {
            "at": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **CONTEXT.get(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            # Only where it happened: an exception's text may quote what a caller sent.
            line["exception"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None:
                line["where"] = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        return SECRET.sub(b"[secret]", orjson.dumps(line, default=str)).decode()


def set_up_logs(level: Level = "info") -> None:
    """Send every logger's records to standard error as JSON; the gateway's own from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.INFO)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
