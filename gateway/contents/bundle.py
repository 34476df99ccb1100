"""The file by which kept contents are opened, on the holder's machine and nowhere else.

    released   the log's entry that they are handed out: to whom, who agreed, whose they are
    intent     who asked what checkpoint, and the commitment to the request
    outcome    how it ended, and the commitment to the answer
    key        the grants' key, sealed to the holder
    parts      request and answer, sealed to the grants' key

Each entry is proven to be in the log. Nothing is shown unless all of it fits.
"""

import base64
from typing import Literal, NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.audit.checkpoint import VerifierKey, is_signed, parse_note
from gateway.audit.entry import Leaf
from gateway.audit.intents import ENDED, INTENDED
from gateway.audit.receipts import ProvenEntry, proven_leaf
from gateway.contents.sealing import PartName, Place, SealedPart, open_grants_key, to_text, unseal
from gateway.errors import AuditFileError

RELEASED = "contents:opening:released"


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeyForm(_Form):
    """A grants' key."""

    id: str
    grants: tuple[str, ...]
    sealed_private: str


class PartForm(_Form):
    """A part."""

    part: PartName
    nonce: str
    ciphertext: str
    sealed_key: str

    @classmethod
    def of(cls, part: PartName, sealed: SealedPart) -> "PartForm":
        """Write a sealed part."""
        texts = {name: to_text(value) for name, value in sealed._asdict().items()}
        return cls(part=part, **texts)


class Bundle(_Form):
    """The file."""

    schema_version: Literal[1] = 1
    request_id: str
    checkpoint: str
    """Of the log: the signed note that every proof leads to."""
    released: ProvenEntry
    intent: ProvenEntry
    outcome: ProvenEntry | None
    key: KeyForm
    parts: tuple[PartForm, ...]


class Opened(NamedTuple):
    """What a bundle held."""

    facts: tuple[str, ...]
    request: bytes
    answer: bytes | None


def read_bundle(raw: bytes) -> Bundle:
    """Read the file.

    Raises:
        AuditFileError: It is none.
    """
    try:
        return Bundle.model_validate_json(raw)
    except ValidationError as error:
        raise AuditFileError("these are no contents of a known form") from error


def open_bundle(
    bundle: Bundle,
    holder: X25519PrivateKey,
    log_key: VerifierKey,
    witness: VerifierKey | None = None,
) -> Opened:
    """Return the contents of a bundle.

    Args:
        bundle: The file.
        holder: The private key that the gateway's public one belongs to.
        log_key: The audit log's.
        witness: Who must have cosigned the log's checkpoint, too.

    Raises:
        AuditFileError: Something of it does not fit; the sentence says what.
    """
    note = parse_note(bundle.checkpoint)
    _must(is_signed(note, log_key), "the log's checkpoint is not signed by the log")
    if witness is not None:
        _must(is_signed(note, witness), "the log's checkpoint is not signed by the witness")
    released = proven_leaf(bundle.released, note.checkpoint)
    intent = proven_leaf(bundle.intent, note.checkpoint)
    outcome = None if bundle.outcome is None else proven_leaf(bundle.outcome, note.checkpoint)
    _check_entries(bundle, released, intent, outcome)
    key = bundle.key
    private = open_grants_key(key.id, key.grants, _raw(key.sealed_private), holder)
    request = _open(bundle, "request", intent, intent, private)
    _must(request is not None, "the request is not there, though the log says that it was kept")
    answer = _open(bundle, "answer", intent, outcome, private)
    said = released.entry.detail
    facts = (
        f"{intent.entry.actor} asked {intent.entry.detail['alias']} at {intent.entry.at}",
        f"handed out to {released.entry.actor} at {released.entry.at}, agreed by "
        f"{said['approved_by']}: {said['reason']}",
    )
    return Opened(facts, request or b"", answer)


def _check_entries(bundle: Bundle, released: Leaf, intent: Leaf, outcome: Leaf | None) -> None:
    detail, caller = released.entry.detail, intent.entry.actor
    _must(released.entry.tag == RELEASED, "the release is an entry of another kind")
    _must(detail.get("request") == bundle.request_id, "the release is of another request")
    people = {str(each) for each in (released.entry.actor, detail.get("approved_by"), caller)}
    named = [each for each in people if each.startswith("person:")]
    _must(len(named) == 3, "it was not handed out by two people other than the caller")
    _must(intent.entry.tag == INTENDED, "the intent is an entry of another kind")
    _must(intent.entry.subject == bundle.request_id, "the intent is of another request")
    kept = intent.entry.detail.get("kept")
    _must(isinstance(kept, dict), "the log does not say that contents were kept")
    assert isinstance(kept, dict)  # noqa: S101 - for the type checker
    _must(kept.get("key") == bundle.key.id, "the key is another than the intent's")
    if outcome is not None:
        same = (outcome.entry.tag, outcome.entry.subject, outcome.entry.actor)
        _must(same == (ENDED, bundle.request_id, caller), "the outcome is of another request")


def _open(
    bundle: Bundle, part: PartName, intent: Leaf, entry: Leaf | None, private: X25519PrivateKey
) -> bytes | None:
    """Return a part, held to what an entry says of it; None where it says nothing of one."""
    kept = None if entry is None else entry.entry.detail.get("kept")
    committed = kept.get(part) if isinstance(kept, dict) else None
    found = [each for each in bundle.parts if each.part == part]
    if not isinstance(committed, str):
        _must(not found, f"the log does not know of the {part}")
        return None
    _must(len(found) == 1, f"the {part} is not there, though the log says that it was kept")
    form = found[0]
    sealed = SealedPart(_raw(form.nonce), _raw(form.ciphertext), _raw(form.sealed_key))
    commitment = intent.entry.detail["commitment"]
    place = Place(bundle.request_id, part, bundle.key.id, str(commitment))
    return unseal(sealed, place, private, committed)


def _raw(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise AuditFileError("a part is no base64") from error


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AuditFileError(otherwise)
