"""Checkpoints in C2SP's forms: a tree's size and root as a note, signed by the log and witnesses.

    airlock/audit                                    the log's name, its origin
    20852163                                         how many entries
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=     the tree's root
                                                     an empty line
    — airlock/audit Az3grlgtzPICa5OS…                the log's signature
    — witness.example/w1 jWbPPwAAAABkGF…             a witness's cosignature

Formats: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint,
https://c2sp.org/tlog-cosignature (v1 of all three). What a signature means is for its caller.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.audit.tree import HASH_BYTES
from gateway.errors import AuditFileError

MAX_NOTE_BYTES = 16 * 1024
NAME = re.compile(r"^[^\s+]{1,200}$")
SIZE = re.compile(r"^(0|[1-9][0-9]{0,18})$")
Kind = Literal[1, 4]
LOG: Kind = 1
"""Signature type of a log's plain Ed25519 signature."""
WITNESS: Kind = 4
"""Signature type of a witness's timestamped cosignature."""


class Checkpoint(NamedTuple):
    """A log's state: so many entries, with this root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note's text, which is what gets signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class VerifierKey:
    """A named public key: what C2SP calls a vkey, `name+id+key`."""

    name: str
    kind: Kind
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that a signature line begins with."""
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(named).digest()[:4]

    def __str__(self) -> str:
        """Write the key as a vkey."""
        material = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read a vkey.

        Raises:
            AuditFileError: It is none, or its id is another key's.
        """
        try:
            name, given_id, material = text.strip().split("+", 2)
            raw = base64.b64decode(material, validate=True)
        except ValueError as error:
            raise AuditFileError("this is no public key of the form name+id+key") from error
        if len(raw) != 33 or raw[0] not in (LOG, WITNESS) or not NAME.match(name):
            raise AuditFileError("this is no Ed25519 key of a log or a witness")
        key = cls(name, LOG if raw[0] == LOG else WITNESS, raw[1:])
        if key.id.hex() != given_id:
            raise AuditFileError(f"the key's id is {key.id.hex()}, not {given_id}")
        return key


@dataclass(frozen=True)
class SignerKey:
    """A private key under its name."""

    name: str
    kind: Kind
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self.kind, self.private.public_key().public_bytes_raw())

    def sign(self, checkpoint: Checkpoint, posix_seconds: int = 0) -> str:
        """Return a signature line; a witness's says when it was made."""
        if self.kind == LOG:
            signature = self.private.sign(checkpoint.text.encode())
        else:
            signature = posix_seconds.to_bytes(8, "big") + self.private.sign(
                _cosigned(checkpoint.text, posix_seconds)
            )
        blob = base64.b64encode(self.verifier.id + signature).decode()
        return f"— {self.name} {blob}\n"


class Note(NamedTuple):
    """A checkpoint and the signature lines under it, not yet verified."""

    checkpoint: Checkpoint
    signatures: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole note."""
        return self.checkpoint.text + "\n" + "".join(self.signatures)


def parse_note(text: str) -> Note:
    """Read a signed checkpoint.

    Raises:
        AuditFileError: It is none. Extension lines, which this log never writes, are refused.
    """
    body, separator, tail = text.partition("\n\n")
    lines = body.split("\n")
    signatures = tail.splitlines(keepends=True)
    if len(text.encode()) > MAX_NOTE_BYTES or not separator or len(lines) != 3:
        raise AuditFileError("this is no signed checkpoint")
    origin, size, root_text = lines
    try:
        root = base64.b64decode(root_text, validate=True)
    except ValueError as error:
        raise AuditFileError("the checkpoint's root is no base64") from error
    checkpoint = Checkpoint(origin, int(size) if SIZE.match(size) else -1, root)
    # One state has one spelling: what was signed is this very text.
    if len(root) != HASH_BYTES or not NAME.match(origin) or checkpoint.text != body + "\n":
        raise AuditFileError("the checkpoint is malformed")
    if not signatures or not all(re.match(r"^— \S+ \S+\n$", line) for line in signatures):
        raise AuditFileError("the checkpoint has no signature lines")
    return Note(checkpoint, tuple(signatures))


def is_signed(note: Note, key: VerifierKey) -> bool:
    """Whether a note bears a valid signature by a key, and names it as its log if it is one's."""
    if key.kind == LOG and note.checkpoint.origin != key.name:
        return False
    return any(_verifies(note.checkpoint, line, key) for line in note.signatures)


def _verifies(checkpoint: Checkpoint, line: str, key: VerifierKey) -> bool:
    _, name, blob = line.rstrip("\n").split(" ")
    try:
        raw = base64.b64decode(blob, validate=True)
    except ValueError:
        return False
    if name != key.name or raw[:4] != key.id:
        return False
    message, signature = checkpoint.text.encode(), raw[4:]
    if key.kind == WITNESS:
        message = _cosigned(checkpoint.text, int.from_bytes(signature[:8], "big"))
        signature = signature[8:]
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _cosigned(text: str, posix_seconds: int) -> bytes:
    return f"cosignature/v1\ntime {posix_seconds}\n{text}".encode()
