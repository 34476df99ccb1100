"""What FastAPI's routes answer when they fail: every fault in the API's one shape.

The table from errors to HTTP is `gateway.http_errors`.
"""

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gateway import errors as e
from gateway.http_errors import error_body, error_headers, http_error


def answer_faults(app: FastAPI) -> None:
    """Let an application answer its faults so."""
    app.add_exception_handler(e.AirlockError, _on_airlock_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_defect)


def render(error: e.AirlockError) -> Response:
    """Return the answer to an error."""
    return Response(error_body(error), http_error(error).status, error_headers(error))


async def _on_airlock_error(_: Request, error: Exception) -> Response:
    return render(error if isinstance(error, e.AirlockError) else e.InternalError())


async def _on_validation_error(_: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    place = [str(part) for part in first.get("loc", ()) if part not in ("body", "query", "path")]
    field = ".".join(place) or None
    if first.get("type") == "json_invalid":
        return render(e.InvalidJsonError("The body is not valid JSON."))
    if first.get("type") == "extra_forbidden" and field:
        return render(e.UnsupportedParameterError(field))
    return render(e.InvalidRequestError(f"{field or 'body'}: {first.get('msg', '')}", field))


async def _on_http_exception(_: Request, error: Exception) -> Response:
    if isinstance(error.__cause__, e.AirlockError):
        return render(error.__cause__)  # FastAPI has found it as it read the body.
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405 and isinstance(error, HTTPException):
        return render(e.MethodNotAllowedError((error.headers or {}).get("Allow", "another method")))
    if status == 404:
        return render(e.NotFoundError("There is nothing at this path."))
    return render(e.InvalidRequestError("The request could not be understood."))


async def _on_defect(_: Request, error: Exception) -> Response:
    return render(e.InternalError())
