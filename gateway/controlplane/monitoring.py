"""What monitoring asks: whether the gateway lives, whether it is ready, and its metrics."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Response
from fastapi.responses import JSONResponse

from gateway.errors import ConfigurationError, InvalidKeyError, MissingKeyError
from gateway.settings import Settings

TEXT_FORMAT = "text/plain; version=0.0.4"


def answer_monitoring(
    app: FastAPI,
    settings: Settings,
    not_ready: Callable[[], list[str]],
    metrics: Callable[[], bytes],
    engine_metrics: Callable[[], Awaitable[bytes]],
) -> None:
    """Add the routes.

    Args:
        app: To which.
        settings: Say whether metrics take a token.
        not_ready: Returns why requests cannot be served as they should.
        metrics: Returns the gateway's own metrics.
        engine_metrics: Returns those of the engines.

    Raises:
        ConfigurationError: The file of the token holds none.
    """
    check = [Depends(_bearer_check(settings))]

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        reasons = not_ready()
        status = "ready" if not reasons else "not ready"
        return JSONResponse({"status": status, "reasons": reasons}, 503 if reasons else 200)

    @app.get("/metrics", include_in_schema=False, dependencies=check)
    async def metrics_route() -> Response:
        return Response(metrics(), media_type=TEXT_FORMAT)

    @app.get("/metrics/engines", include_in_schema=False, dependencies=check)
    async def engine_metrics_route() -> Response:
        return Response(await engine_metrics(), media_type=TEXT_FORMAT)


def _bearer_check(settings: Settings) -> Callable[[str | None], None]:
    """Return a dependency that lets the token's bearer pass, or everybody where there is none."""
    file = settings.metrics_token_file
    try:
        token = file.read_text().strip() if file else None
    except OSError as error:
        raise ConfigurationError(f"the token of metrics cannot be read: {error}") from error
    if token == "":
        raise ConfigurationError(f"{file} is empty")

    def check(authorization: Annotated[str | None, Header()] = None) -> None:
        if token is None:
            return
        if authorization is None:
            raise MissingKeyError
        if not hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise InvalidKeyError

    return check
