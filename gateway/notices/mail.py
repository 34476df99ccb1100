"""Mail: one message over SMTP, in a thread of few, so that a slow server holds nobody else up."""

import smtplib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage

import anyio
import anyio.to_thread

from gateway.errors import ConfigurationError
from gateway.notices.delivery import Failed
from gateway.settings import Settings

AT_A_TIME = 4
BEFORE, AFTER = 8, 6
"""Exchanges with the server at most, before anything is said of a mail, and from then on.

    connecting, greeting, EHLO, STARTTLS, handshake, EHLO, a login in two
    MAIL, RCPT, DATA, the text, its answer, QUIT
"""


def longest_seconds(settings: Settings) -> float:
    """Return for how long a mail may be on its way to a server that is slow, and well."""
    return (BEFORE + AFTER) * settings.mail_timeout_seconds


class Mailer:
    """Sends mail by the server that the settings name."""

    def __init__(self, settings: Settings) -> None:
        """Read the password; the server is asked when there is something to send.

        Raises:
            ConfigurationError: The password or the certificates cannot be read.
        """
        self._settings = settings
        self._slots = anyio.CapacityLimiter(AT_A_TIME)
        file = settings.mail_password_file
        try:
            self._password = None if file is None else file.read_text().strip()
            self._tls = ssl.create_default_context(cafile=settings.mail_ca_file)
        except OSError as error:
            raise ConfigurationError(f"the mail server's settings: {error}") from error

    async def send(self, to: str, message: EmailMessage) -> None:
        """Send one message to one address, whatever its header says.

        Raises:
            Failed: It was not taken.
        """
        # A thread that hangs is left alone: it begins no mail any more, and its own time-out ends
        # it.
        begin_by = time.monotonic() + BEFORE * self._settings.mail_timeout_seconds
        await anyio.to_thread.run_sync(
            self._send, to, message, begin_by, limiter=self._slots, abandon_on_cancel=True
        )

    def _send(self, to: str, message: EmailMessage, begin_by: float) -> None:
        settings = self._settings
        try:
            with self._connect() as server:
                if settings.mail_security == "starttls":
                    server.starttls(context=self._tls)
                if settings.mail_user is not None and self._password is not None:
                    server.login(settings.mail_user, self._password)
                # A server that answers in drops outlasts every exchange's own time-out.
                if time.monotonic() > begin_by:
                    raise TimeoutError
                server.send_message(message, to_addrs=[to])
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            is_final = all(code >= 500 for code in codes)
            raise Failed("the address was refused", is_final=is_final) from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            # Its text may hold addresses; its kind says enough.
            raise Failed(f"the mail server did not take it: {type(error).__name__}") from error

    @contextmanager
    def _connect(self) -> Iterator[smtplib.SMTP]:
        settings = self._settings
        host, port, seconds = settings.mail_host, settings.mail_port, settings.mail_timeout_seconds
        server: smtplib.SMTP
        if settings.mail_security == "tls":
            server = smtplib.SMTP_SSL(host or "", port, timeout=seconds, context=self._tls)
        else:
            server = smtplib.SMTP(host or "", port, timeout=seconds)
        try:
            yield server
        finally:
            # By now the mail was taken or not, whatever is said to a farewell: smtplib's own end
            # of a connection raises for it, and what was taken would be sent again.
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
            server.close()
