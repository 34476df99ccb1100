"""When the certificates end that the gateway's own address and those it asks show.

They are read without being verified: one that has ended is what this is about. Whether a server is
believed is decided where it is asked.
"""

import asyncio
import logging
import ssl
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urlsplit

from gateway.settings import Settings

TIMEOUT_SECONDS = 3.0
log = logging.getLogger(__name__)


def tls_addresses(settings: Settings) -> Iterator[str]:
    """Yield every `https` address that the settings name."""
    yield settings.public_url or ""
    for issuer in settings.issuers:
        yield issuer.issuer
    for engine in settings.engines:
        yield engine.url
        yield engine.attest_url or ""


async def expiries(settings: Settings) -> dict[str, datetime]:
    """Return when the certificate of each server ends, by `host:port`; none of who is silent."""
    parts = [urlsplit(url) for url in tls_addresses(settings) if url.startswith("https://")]
    hosts = {(part.hostname or "", part.port or 443) for part in parts}
    found: dict[str, datetime] = {}
    for host, port in sorted(hosts):
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                found[f"{host}:{port}"] = await _expiry(host, port)
        except (OSError, TimeoutError, ValueError) as error:
            log.warning("%s:%d shows no certificate: %s", host, port, type(error).__name__)
    return found


async def _expiry(host: str, port: int) -> datetime:
    # Only who has TLS servers to look at loads what reads certificates.
    from cryptography.x509 import load_der_x509_certificate

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return load_der_x509_certificate(shown).not_valid_after_utc
    finally:
        # Closing it would wait for the other side's goodbye, for up to half a minute.
        writer.transport.abort()
