"""Webhooks: a signed POST in the form of Standard Webhooks 1.0.0, to a checked destination.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import orjson

from gateway.errors import InvalidRequestError
from gateway.notices.delivery import Dropped, Failed
from gateway.notices.destinations import PublicResolver, check_destination
from gateway.settings import Settings

PREFIX = "whsec_"
SECRET_BYTES = 32
GONE = 410


def new_secret() -> str:
    """Return a secret as receivers take it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature(secret: str, notice_id: str, seconds: int, body: bytes) -> str:
    """Return one signature, over id, moment and body."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{notice_id}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def payload(event: str, created_at: datetime, subject: str, data: Mapping[str, object]) -> bytes:
    """Return a body: the same for each attempt."""
    return orjson.dumps(
        {
            "type": event,
            "timestamp": created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": {"subject": subject, **data},
        }
    )


def _seconds_asked(header: str | None, now: datetime) -> float | None:
    """Return what `Retry-After` says: seconds, or an HTTP date; None where it says nothing."""
    if header is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", header):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    # A date that names no zone is in UTC, as all of HTTP's are.
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


class Caller:
    """Sends webhooks; a redirect is a failure, and what answers is not read."""

    def __init__(self, settings: Settings) -> None:
        """Connect to nobody yet."""
        self._settings = settings
        resolver = PublicResolver(allow_private=settings.webhook_private)
        # No cache of names, no reuse of connections: each attempt is checked for itself.
        connector = aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, force_close=True, limit=32
        )
        self._client = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=settings.webhook_timeout_seconds),
        )

    async def send(
        self, url: str, keys: Sequence[str], notice_id: str, body: bytes, now: datetime
    ) -> None:
        """Send one webhook.

        Args:
            url: Where to.
            keys: The secrets that count now: two of them during a rotation.
            notice_id: The same for each attempt, so that receivers know what they have had.
            body: What is said.
            now: The moment of this attempt.

        Raises:
            Failed: It was not taken.
            Dropped: The receiver says that it wants no more, ever.
        """
        seconds = int(now.timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": "airlock",
            "webhook-id": notice_id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": " ".join(signature(key, notice_id, seconds, body) for key in keys),
        }
        try:
            check_destination(url, self._settings)
            async with self._client.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status, wait = answer.status, answer.headers.get("retry-after")
        except InvalidRequestError as error:
            raise Failed(f"the destination is not allowed: {error}", is_final=True) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Failed(f"no answer: {type(error).__name__}") from error
        if status == GONE:
            raise Dropped("the receiver says that it is gone")
        if not 200 <= status < 300:
            asked = _seconds_asked(wait, now)
            raise Failed(f"it answered with status {status}", asked_seconds=asked)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()
