"""One line of JSON for each record, with what it is about, and without what was said."""

import io
import json
import logging
import sys

import pytest

from gateway.logs import CONTEXT, JsonFormatter, set_up_logs


def line(message: str = "hello", *args: object, exc_info=None) -> dict:
    record = logging.LogRecord("gateway.x", logging.INFO, "x.py", 1, message, args, exc_info)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def failure(text: str):
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


def test_a_line_says_when_where_and_of_which_request():
    token = CONTEXT.set({"request_id": "req_1", "trace_id": "t"})
    try:
        said = line("%s is out", "e")
    finally:
        CONTEXT.reset(token)
    assert said.pop("at").endswith("+00:00")
    assert said == {
        "level": "info",
        "logger": "gateway.x",
        "message": "e is out",
        "request_id": "req_1",
        "trace_id": "t",
    }
    assert "request_id" not in line()


def test_an_exceptions_text_is_left_out():
    said = line(exc_info=failure("what the caller sent"))
    assert said["exception"] == "ValueError"
    assert said["where"].rpartition(":")[0] == __file__
    assert "sent" not in json.dumps(said)


SECRETS = {
    "an API key": "airlock_key_0123456789ab_" + "S" * 43 + "_abc123",
    "a workflow key": "airlock_workflow_0123456789ab_" + "S" * 43 + "_abc123",
    "an administrator's key": "airlock_admin_0123456789ab_" + "S" * 43 + "_abc123",
    "a token": "eyJhbGciOiJFUzI1NiJ9.SSSSSSSS.SSSS-SSS_S",
    "a bearer": "Bearer SSSSSSSSSSSS",
    "a lower-case bearer": "authorization: bearer SSSSSSSSSSSS",
    "a password": "Basic SSSSSSSSSSSS==",
    "a cookie": "cookie: a=b; __Host-airlock_session=SSSSSSSSSSSS; c=d",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_what_looks_like_a_secret_is_struck_out(secret):
    for said in (line(f"it was {secret}."), line("it was %s.", secret)):
        assert "[secret]" in said["message"]
        assert "SSSS" not in json.dumps(said)


LIBRARIES = ("sqlalchemy.engine", "aiosqlite", "httpx2", "httpcore2", "authlib", "asyncio")


def test_other_libraries_say_nothing_below_a_warning(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    root, levels = logging.getLogger(), {}
    handlers, level = root.handlers, root.level
    names = ("gateway", "models", "uvicorn", "python_multipart")
    for name in names:
        levels[name] = logging.getLogger(name).level
    try:
        set_up_logs("debug")
        assert logging.getLogger("gateway.dataplane.pool").isEnabledFor(logging.DEBUG)
        for library in LIBRARIES:
            assert not logging.getLogger(library).isEnabledFor(logging.INFO), library
            assert logging.getLogger(library).isEnabledFor(logging.ERROR), library
        assert not logging.getLogger("python_multipart.multipart").isEnabledFor(logging.ERROR)
    finally:
        root.handlers = handlers
        root.setLevel(level)
        for name in names:
            logging.getLogger(name).setLevel(levels[name])
