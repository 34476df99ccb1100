"""A real SMTP server in this process: STARTTLS with a certificate of its own, and a password."""

import asyncio
import ipaddress
import ssl
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import free_port

USER, PASSWORD = "airlock", "the mail server's password"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 and its key; the certificate is its own authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "mail.crt", folder / "mail.key"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


class MailServer:
    """Keeps what it is sent; `mode` is ok, busy (for now), or refused (for good).

    Each of its answers takes `answer_seconds`; `farewell` is what it says to QUIT.
    """

    def __init__(self, folder: Path) -> None:
        self.mode, self.answer_seconds, self.farewell = "ok", 0.0, "221 Bye"
        self.received: list[tuple[str, Message]] = []
        self.was_encrypted: list[bool] = []
        self.password_file = folder / "mail.password"
        self.password_file.write_text(PASSWORD + "\n")
        self.certificate, key = certificate(folder)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, key)
        self.port = free_port()
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=context,
            require_starttls=True,
            authenticator=self._authenticate,
            auth_required=True,
        )

    def _authenticate(self, server, session, envelope, mechanism, data) -> AuthResult:
        given = isinstance(data, LoginPassword) and (data.login, data.password)
        return AuthResult(success=given == (USER.encode(), PASSWORD.encode()))

    async def handle_EHLO(self, server, session, envelope, hostname, responses) -> list[str]:  # noqa: N802 - aiosmtpd's name
        await asyncio.sleep(self.answer_seconds)
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, server, session, envelope: Envelope, address, options) -> str:  # noqa: N802 - aiosmtpd's name
        await asyncio.sleep(self.answer_seconds)
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope: Envelope, address, options) -> str:  # noqa: N802 - aiosmtpd's name
        await asyncio.sleep(self.answer_seconds)
        if self.mode == "refused":
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        await asyncio.sleep(self.answer_seconds)
        if self.mode == "busy":
            return "451 come back later"
        assert isinstance(envelope.content, bytes)
        self.was_encrypted.append(session.ssl is not None)
        for to in envelope.rcpt_tos:
            self.received.append((to, message_from_bytes(envelope.content)))
        return "250 taken"

    async def handle_QUIT(self, server, session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        return self.farewell

    def settings(self, **changes) -> dict:
        """Return the gateway's settings for it."""
        return {
            "mail_host": "127.0.0.1",
            "mail_port": self.port,
            "mail_user": USER,
            "mail_password_file": self.password_file,
            "mail_ca_file": self.certificate,
            "mail_from": "airlock@gateway.example",
        } | changes

    def subjects(self, to: str) -> list[str]:
        return [str(message["subject"]) for whose, message in self.received if whose == to]

    def text(self, to: str, word: str) -> str | None:
        """Return the newest mail to somebody with a word in its subject."""
        for whose, message in reversed(self.received):
            if whose == to and word in str(message["subject"]):
                payload = message.get_payload(decode=True)
                assert isinstance(payload, bytes)
                return payload.decode()
        return None


@contextmanager
def mail_server(folder: Path):
    server = MailServer(folder)
    server._controller.start()
    yield server
    server._controller.stop()
