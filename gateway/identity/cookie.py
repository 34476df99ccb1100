"""The session's cookie, and the token that changes sent with it must carry.

`__Host-` makes the browser refuse a cookie that another host, path or unprotected page has set.
"""

import base64
import hmac
import secrets
from collections.abc import Mapping

SESSION = "__Host-airlock_session"
LOGIN = "__Host-airlock_login"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
SECRET_LENGTH = 43


def new_secret() -> str:
    """Return the text of a new session's cookie: 256 random bits."""
    return secrets.token_urlsafe(32)


def secret_hmac(pepper: bytes, secret: str) -> bytes:
    """Return what is stored of a session's secret."""
    return hmac.digest(pepper, b"session/" + secret.encode(), "sha256")


def csrf_token(pepper: bytes, secret: str) -> str:
    """Return the token that goes with a session; who cannot read our answers cannot know it."""
    digest = hmac.digest(pepper, b"csrf/" + secret.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def set_cookie(name: str, value: str, seconds: int) -> str:
    """Return a `Set-Cookie` header; with no seconds, the one that takes the cookie away."""
    return f"{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax"


def is_ours(
    method: str, headers: Mapping[str, str], origin: str | None, expected_token: str
) -> bool:
    """Whether a request that a cookie came with was made by a page of our own.

    Args:
        method: Of the request.
        headers: Of the request.
        origin: Our own, as browsers see it.
        expected_token: The session's.
    """
    if method in SAFE_METHODS:
        return True
    claimed = headers.get("origin")
    if claimed is None:
        from_us = headers.get("sec-fetch-site") == "same-origin"
    else:
        from_us = origin is not None and claimed == origin
    given = headers.get("x-csrf-token", "")
    return from_us and hmac.compare_digest(given.encode(), expected_token.encode())
