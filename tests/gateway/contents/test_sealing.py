"""What is sealed opens for its holder alone, in its place alone, and as the log committed to it."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.contents.holder import make_holder, read_private, read_public
from gateway.contents.sealing import (
    Place,
    commit,
    make_grants_key,
    new_part_key,
    open_grants_key,
    seal,
    unseal,
)
from gateway.errors import AuditFileError, ConfigurationError

HOLDER = X25519PrivateKey.generate()
KEY = make_grants_key("k", ["g2", "g1"], HOLDER.public_key())
PRIVATE = open_grants_key("k", ["g1", "g2"], KEY.sealed_private, HOLDER)
PLACE = Place("req_1", "request", "k", "c" * 64)


def sealed(content: bytes, place: Place = PLACE):
    part_key = new_part_key()
    committed = commit(part_key, place.request_id, place.part, content)
    return seal(part_key, place, content, KEY.public), committed


@given(st.binary(max_size=300))
def test_it_opens_as_it_was(content):
    part, committed = sealed(content)
    assert unseal(part, PLACE, PRIVATE, committed) == content
    assert len(content) < 8 or content not in b"".join(part)


@pytest.mark.parametrize(
    "change",
    [{"request_id": "req_2"}, {"part": "answer"}, {"key_id": "l"}, {"entry": "d" * 64}],
)
def test_another_place_is_refused(change):
    part, committed = sealed(b"Paris")
    with pytest.raises(AuditFileError, match="changed, or is of another request"):
        unseal(part, PLACE._replace(**change), PRIVATE, committed)


@given(st.sampled_from(["nonce", "ciphertext", "sealed_key"]), st.data())
def test_every_changed_byte_is_refused(field, data):
    part, committed = sealed(b"Paris")
    raw = bytearray(getattr(part, field))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(AuditFileError):
        unseal(part._replace(**{field: bytes(raw)}), PLACE, PRIVATE, committed)


def test_what_the_log_did_not_commit_to_is_refused():
    """Anybody who can write to the database can seal: the public key is no secret."""
    _, committed = sealed(b"Paris")
    forged, _ = sealed(b"What nobody asked")
    with pytest.raises(AuditFileError, match="committed"):
        unseal(forged, PLACE, PRIVATE, committed)


def test_equal_contents_do_not_look_equal():
    assert len({sealed(b"Paris")[1] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("key_id", "grants", "holder"),
    [
        ("l", ["g1", "g2"], HOLDER),
        ("k", ["g1"], HOLDER),
        ("k", ["g1", "g3"], HOLDER),
        ("k", ["g1", "g2"], X25519PrivateKey.generate()),
    ],
)
def test_a_grants_key_opens_for_its_holder_and_as_its_own(key_id, grants, holder):
    with pytest.raises(AuditFileError, match="does not open"):
        open_grants_key(key_id, grants, KEY.sealed_private, holder)


@pytest.mark.parametrize("passphrase", [None, b"over the hills"])
def test_the_holders_pair(tmp_path, passphrase):
    private, public = tmp_path / "holder.pem", tmp_path / "holder.pub"
    public.write_text(make_holder(private, passphrase))
    assert private.stat().st_mode & 0o777 == 0o600
    made = make_grants_key("k", ["g"], read_public(public))
    assert open_grants_key("k", ["g"], made.sealed_private, read_private(private, passphrase))
    with pytest.raises(ConfigurationError):
        make_holder(private, passphrase)
    with pytest.raises(ConfigurationError):
        read_private(private, b"another" if passphrase else b"one too many")
    # A gateway is never given the private key by mistake.
    for wrong in (private, tmp_path / "none"):
        with pytest.raises(ConfigurationError):
            read_public(wrong)
