"""What notices are secured by: codes in mails, and the encryption of webhooks' secrets."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from cryptography.fernet import Fernet

from gateway.identity.secret import Secret


@dataclass(frozen=True)
class NoticeKeys:
    """Keys of the gateway's secret, for notices alone."""

    codes: bytes
    cipher: Fernet

    def code(self, address_id: str, email: str, nonce: str) -> str:
        """Return the code that confirms an address; it is kept nowhere.

        In base32: one in 64 of base64url begins with a dash, and is an option on a command line.
        """
        text = "\n".join((address_id, email, nonce)).encode()
        made = hmac.digest(self.codes, text, hashlib.sha256)
        return base64.b32encode(made).rstrip(b"=").decode()

    def mailbox(self, mailbox: str) -> bytes:
        """Return what is kept of a mailbox, to know it again without its address."""
        return hmac.digest(self.codes, b"mailbox/" + mailbox.encode(), hashlib.sha256)

    def is_code(self, given: str, address_id: str, email: str, nonce: str) -> bool:
        """Whether a code is the address's; the time it takes tells nothing."""
        return hmac.compare_digest(given.encode(), self.code(address_id, email, nonce).encode())


def notice_keys(secret: Secret) -> NoticeKeys:
    """Derive the keys."""
    cipher = Fernet(base64.urlsafe_b64encode(secret.derive("webhook-secrets/1")))
    return NoticeKeys(secret.derive("address-codes/1"), cipher)
