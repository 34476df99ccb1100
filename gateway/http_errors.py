"""The one table from errors to HTTP, in the shape that OpenAI's clients understand."""

from typing import NamedTuple

import orjson

from gateway import contents_errors as c
from gateway import errors as e
from gateway import identity_errors as i
from gateway import limit_errors as m
from gateway import precondition_errors as p


class HttpError(NamedTuple):
    """How one leaf of the error tree looks on the wire."""

    status: int
    type: str
    code: str


INVALID = "invalid_request_error"
SERVER = "server_error"

HTTP_ERRORS: dict[type[e.AirlockError], HttpError] = {
    e.InvalidJsonError: HttpError(400, INVALID, "invalid_json"),
    e.InvalidRequestError: HttpError(400, INVALID, "invalid_request"),
    e.UnsupportedParameterError: HttpError(400, INVALID, "unsupported_parameter"),
    e.RequestTooLargeError: HttpError(413, INVALID, "request_too_large"),
    e.RequestTimeoutError: HttpError(408, INVALID, "request_timeout"),
    e.UnsupportedMediaTypeError: HttpError(415, INVALID, "unsupported_media_type"),
    e.EndpointNotServedError: HttpError(400, INVALID, "endpoint_not_served"),
    e.NotFoundError: HttpError(404, INVALID, "not_found"),
    e.UnknownModelError: HttpError(404, INVALID, "model_not_found"),
    e.MethodNotAllowedError: HttpError(405, INVALID, "method_not_allowed"),
    e.ConflictError: HttpError(409, INVALID, "conflict"),
    p.KeyInFlightError: HttpError(409, INVALID, "idempotency_key_in_flight"),
    p.KeyReusedError: HttpError(422, INVALID, "idempotency_key_reused"),
    p.ChangedMeanwhileError: HttpError(412, INVALID, "changed_meanwhile"),
    p.MatchRequiredError: HttpError(428, INVALID, "match_required"),
    e.MissingKeyError: HttpError(401, "authentication_error", "missing_api_key"),
    e.InvalidKeyError: HttpError(401, "authentication_error", "invalid_api_key"),
    e.ExpiredKeyError: HttpError(401, "authentication_error", "expired_api_key"),
    e.RevokedKeyError: HttpError(401, "authentication_error", "revoked_api_key"),
    i.InvalidTokenError: HttpError(401, "authentication_error", "invalid_token"),
    i.ExpiredTokenError: HttpError(401, "authentication_error", "expired_token"),
    i.BoundTokenError: HttpError(401, "authentication_error", "bound_token"),
    i.InvalidSessionError: HttpError(401, "authentication_error", "invalid_session"),
    i.StepUpRequiredError: HttpError(
        401, "authentication_error", "insufficient_user_authentication"
    ),
    i.LoginFailedError: HttpError(400, INVALID, "login_failed"),
    i.ForgedRequestError: HttpError(403, "permission_error", "forged_request"),
    i.UnknownPersonError: HttpError(403, "permission_error", "unknown_person"),
    i.AddressNotAllowedError: HttpError(403, "permission_error", "address_not_allowed"),
    i.InsufficientScopeError: HttpError(403, "permission_error", "insufficient_scope"),
    i.ProviderUnavailableError: HttpError(503, SERVER, "provider_unavailable"),
    e.NotPermittedError: HttpError(403, "permission_error", "not_permitted"),
    e.GrantRequiredError: HttpError(403, "permission_error", "grant_required"),
    e.GrantRevokedError: HttpError(403, "permission_error", "grant_revoked"),
    e.RateLimitedError: HttpError(429, "rate_limit_error", "rate_limit_exceeded"),
    m.TooManyTokensError: HttpError(429, "tokens", "rate_limit_exceeded"),
    e.QuotaExceededError: HttpError(429, "insufficient_quota", "insufficient_quota"),
    e.ReleaseWithdrawnError: HttpError(503, SERVER, "release_withdrawn"),
    e.EngineUnavailableError: HttpError(503, SERVER, "engine_unavailable"),
    e.EngineFailedError: HttpError(502, SERVER, "engine_error"),
    e.EngineTimeoutError: HttpError(504, SERVER, "engine_timeout"),
    e.RequestHeldBackError: HttpError(422, INVALID, "request_held_back"),
    e.OverloadedError: HttpError(503, SERVER, "overloaded"),
    e.NotReadyError: HttpError(503, SERVER, "not_ready"),
    e.AuditUnavailableError: HttpError(503, SERVER, "audit_unavailable"),
    c.ContentsUnavailableError: HttpError(503, SERVER, "contents_unavailable"),
    e.StorageUnavailableError: HttpError(503, SERVER, "storage_unavailable"),
    e.AuditFileError: HttpError(500, SERVER, "internal_error"),
    e.ConfigurationError: HttpError(500, SERVER, "internal_error"),
    e.InternalError: HttpError(500, SERVER, "internal_error"),
}

WITH_A_TIME = (e.RateLimitedError, e.QuotaExceededError, e.RequestHeldBackError, e.OverloadedError)
"""Errors that know when to try again."""

NOT_FOR_LONG = (
    e.EngineUnavailableError,
    e.NotReadyError,
    e.AuditUnavailableError,
    c.ContentsUnavailableError,
    e.StorageUnavailableError,
    i.ProviderUnavailableError,
)
"""Errors that are worth another try in a moment."""

RETRY: dict[type[e.AirlockError], str] = {
    e.ConflictError: "false",
    p.KeyInFlightError: "true",
    p.KeyReusedError: "false",
    e.GrantRequiredError: "false",
    m.TooManyTokensError: "false",
    e.QuotaExceededError: "false",
    e.ReleaseWithdrawnError: "false",
    e.RequestHeldBackError: "false",
    e.EngineUnavailableError: "true",
    e.NotReadyError: "true",
    e.AuditUnavailableError: "true",
    c.ContentsUnavailableError: "true",
    i.ProviderUnavailableError: "true",
    e.OverloadedError: "true",
    e.StorageUnavailableError: "true",
}
"""What SDKs are told where a status alone would have them do otherwise, or where it is certain."""


def http_error(error: e.AirlockError) -> HttpError:
    """Return the row of an error; a leaf without one is a defect and answers 500."""
    return HTTP_ERRORS.get(type(error), HTTP_ERRORS[e.InternalError])


def error_body(error: e.AirlockError) -> bytes:
    """Return the JSON body for an error."""
    row = http_error(error)
    message = "An internal error occurred." if row.status == 500 else str(error)
    return orjson.dumps(
        {
            "error": {
                "message": message,
                "type": row.type,
                "param": getattr(error, "param", None),
                "code": row.code,
            }
        }
    )


ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def anthropic_error_body(error: e.AirlockError) -> bytes:
    """Return the JSON body for an error, in the shape that Anthropic's clients understand."""
    row = http_error(error)
    message = "An internal error occurred." if row.status == 500 else str(error)
    other = "invalid_request_error" if row.status < 500 else "api_error"
    detail = {"type": ANTHROPIC_TYPES.get(row.status, other), "message": message, "code": row.code}
    return orjson.dumps({"type": "error", "error": detail})


def error_headers(error: e.AirlockError) -> dict[str, str]:
    """Return the headers that go with an error, beside the content type."""
    headers = {"content-type": "application/json"}
    if (retry := RETRY.get(type(error))) is not None:
        headers["x-should-retry"] = retry
    if isinstance(error, WITH_A_TIME):
        headers["retry-after"] = str(max(1, round(error.retry_after_seconds)))
    elif isinstance(error, NOT_FOR_LONG):
        headers["retry-after"] = "2"
    elif isinstance(error, e.ReleaseWithdrawnError):
        headers["retry-after"] = "30"
    elif isinstance(error, e.MethodNotAllowedError):
        headers["allow"] = error.allowed
    elif isinstance(error, i.InvalidTokenError | i.ExpiredTokenError | i.BoundTokenError):
        headers["www-authenticate"] = 'Bearer error="invalid_token"'
    elif isinstance(error, i.StepUpRequiredError):
        headers["www-authenticate"] = _challenge(error)
    elif isinstance(error, e.AuthenticationError):
        headers["www-authenticate"] = "Bearer"
    return headers


def _challenge(error: i.StepUpRequiredError) -> str:
    """Return what a client must ask its provider for (RFC 9470)."""
    wanted = 'Bearer error="insufficient_user_authentication"'
    if error.acr_values:
        wanted += f', acr_values="{" ".join(error.acr_values)}"'
    return f"{wanted}, max_age={error.max_age_seconds}"
