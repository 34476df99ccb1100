"""A provider's word that somebody has logged out there (OIDC Back-Channel Logout 1.0)."""

from typing import NamedTuple

from gateway.identity.jose import open_token
from gateway.identity.provider import Provider
from gateway.identity_errors import InvalidTokenError

EVENT = "http://schemas.openid.net/event/backchannel-logout"
MAX_AGE_SECONDS = 300.0


class LoggedOut(NamedTuple):
    """Whose sessions end: those of a subject, or one of the provider's; those of before alone.

    A logout token that is sent again ends nothing that began after it was made, as far as clocks
    may differ.
    """

    issuer: str
    subject: str | None
    provider_session: str | None
    at: float
    """Seconds since the epoch."""


async def read_logout(provider: Provider, text: str, now: float) -> LoggedOut:
    """Return what a logout token says (section 2.6).

    Raises:
        InvalidTokenError: It is not one of this provider's for us.
        ExpiredTokenError: It is old.
        ProviderUnavailableError: Its key cannot be told.
    """
    opened, setting = open_token(text), provider.setting
    if opened.algorithm not in setting.algorithms or opened.type not in ("logout+jwt", "jwt"):
        raise InvalidTokenError
    if opened.claims.get("iss") != setting.issuer or setting.client_id is None:
        raise InvalidTokenError
    opened.check_audience(setting.client_id)
    opened.check_times(now)
    events, issued_at = opened.claims.get("events"), opened.moment("iat")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise InvalidTokenError
    if "nonce" in opened.claims or issued_at is None or issued_at < now - MAX_AGE_SECONDS:
        raise InvalidTokenError
    opened.claim_text("jti")
    subject = opened.claim_text("sub") if "sub" in opened.claims else None
    session = opened.claim_text("sid") if "sid" in opened.claims else None
    if subject is None and session is None:
        raise InvalidTokenError
    opened.verify(await provider.key(opened.kid, opened.algorithm))
    return LoggedOut(setting.issuer, subject, session, issued_at)
