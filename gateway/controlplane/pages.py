"""Pages for people whom a mail has sent here, and the forms in them: plain, and kept by nobody."""

from html import escape
from urllib.parse import parse_qsl

from fastapi import Request, Response

from gateway.errors import InvalidRequestError

MAX_FORM_BYTES = 16_384
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Airlock</title>
<h1>Airlock</h1><p>{sentence}</p>{form}</html>
"""
HEADERS = {
    "cache-control": "no-store",
    # To ourselves alone: with no referrer at all a browser hides a form's origin, too.
    "referrer-policy": "same-origin",
    "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


def page(sentence: str, form: str = "", status: int = 200) -> Response:
    """Return a page with a sentence, and markup below it whose values are escaped already."""
    text = PAGE.format(sentence=escape(sentence), form=form)
    return Response(text, status, HEADERS, media_type="text/html; charset=utf-8")


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        InvalidRequestError: It is too long.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            raise InvalidRequestError("The form is too long.")
    return dict(parse_qsl(body.decode("ascii", "replace")))
