"""Structured logs: one JSON object a line. Never a prompt, a completion, a key or a token."""

import datetime
import logging
import sys

import orjson

FIELDS = "airlock"
CLIENTS = ("httpx2", "httpcore2")
"""By which identity providers are asked."""


class JsonFormatter(logging.Formatter):
    """Formats a record, its `extra={"airlock": {…}}` fields and the type of its exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        line: dict[str, object] = {
            "at": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
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
        return orjson.dumps(line, default=str).decode()


def set_up_logs(level: int = logging.INFO) -> None:
    """Send every logger's records to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # It warns of malformed forms and quotes bytes of them; who sent one is told so.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    # At other levels these write headers, and with them secrets.
    for name in CLIENTS:
        logging.getLogger(name).setLevel(logging.WARNING)
