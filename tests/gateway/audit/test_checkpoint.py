"""Signed checkpoints: C2SP's own example verifies, and nothing that was changed does."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit.checkpoint import (
    LOG,
    WITNESS,
    Checkpoint,
    Note,
    SignerKey,
    VerifierKey,
    is_signed,
    parse_note,
)
from gateway.errors import AuditFileError

KEY = SignerKey("airlock/audit", LOG, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
CLERK = SignerKey("witness.example/w1", WITNESS, Ed25519PrivateKey.from_private_bytes(b"w" * 32))
HERE = Checkpoint("airlock/audit", 3, hashlib.sha256(b"x").digest())


def note(checkpoint=HERE, keys=(KEY,)) -> Note:
    return Note(checkpoint, tuple(key.sign(checkpoint, 1_700_000_000) for key in keys))


def test_a_note_is_read_back_and_verifies_for_each_signer():
    both = note(keys=(KEY, CLERK))
    assert parse_note(both.text) == both
    assert is_signed(both, KEY.verifier)
    assert is_signed(both, CLERK.verifier)
    assert not is_signed(note(), CLERK.verifier)


# The specification's example: https://c2sp.org/tlog-cosignature. Its key is not published; its
# form is, down to the key ids and the time.
PUBLISHED = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501


def test_the_specifications_example_is_understood():
    found = parse_note(PUBLISHED)
    assert found.checkpoint.size == 20852163
    assert found.text == PUBLISHED
    cosignature = base64.b64decode(found.signatures[1].split()[2])
    assert len(cosignature) == 4 + 8 + 64
    assert int.from_bytes(cosignature[4:12], "big") == 1679315147


@pytest.mark.parametrize(
    "changed",
    [
        HERE._replace(size=4),
        HERE._replace(root=hashlib.sha256(b"y").digest()),
        HERE._replace(origin="other/log"),
    ],
)
@pytest.mark.parametrize("signer", [KEY, CLERK])
def test_a_changed_checkpoint_bears_no_valid_signature(changed, signer):
    forged = Note(changed, note(keys=(signer,)).signatures)
    assert not is_signed(forged, signer.verifier)


def test_a_cosignature_binds_its_time():
    line = CLERK.sign(HERE, 1_700_000_000)
    _, name, blob = line.split()
    raw = bytearray(base64.b64decode(blob))
    raw[11] ^= 1
    forged = f"— {name} {base64.b64encode(bytes(raw)).decode()}\n"
    assert not is_signed(Note(HERE, (forged,)), CLERK.verifier)


def test_a_signature_beyond_ascii_is_none():
    name = KEY.verifier.name
    assert not is_signed(Note(HERE, (f"— {name} é\n",)), KEY.verifier)
    assert is_signed(Note(HERE, (f"— {name} é\n", KEY.sign(HERE))), KEY.verifier)


def test_a_logs_key_does_not_vouch_for_another_origin():
    other = Checkpoint("other/log", 3, HERE.root)
    assert not is_signed(note(other), KEY.verifier)


MALFORMED = {
    "empty": "",
    "no signature": HERE.text + "\n",
    "no empty line": HERE.text + KEY.sign(HERE),
    "leading zero": note().text.replace("\n3\n", "\n03\n"),
    "negative": note().text.replace("\n3\n", "\n-3\n"),
    "short root": note().text.replace(base64.b64encode(HERE.root).decode(), "AAAA"),
    "extension line": note().text.replace("\n\n", "\nmore\n\n"),
    "line without end": note().text.rstrip("\n"),
    "a root beyond ASCII": note().text.replace(base64.b64encode(HERE.root).decode(), "é"),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(AuditFileError):
        parse_note(text)


def test_keys_are_written_and_read():
    for key in (KEY.verifier, CLERK.verifier):
        assert VerifierKey.parse(str(key)) == key
    for wrong in ("", "a+b", str(KEY.verifier).replace("airlock", "other"), "a+00000000+AAAA"):
        with pytest.raises(AuditFileError):
            VerifierKey.parse(wrong)
