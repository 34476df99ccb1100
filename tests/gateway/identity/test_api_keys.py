"""API keys: their form, their checksum, what is stored of them."""

import re

from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.api_keys import mint, parse, secret_hmac

FORM = re.compile(r"airlock_(key|admin)_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", re.ASCII)


def test_a_minted_key_parses_to_itself():
    for kind in ("key", "admin"):
        parsed, text = mint(kind)
        assert FORM.fullmatch(text)
        assert parse(text) == parsed


@given(st.integers(0, 70), st.characters())
def test_any_changed_character_fails_the_checksum(index, character):
    _, text = mint("key")
    index %= len(text)
    changed = text[:index] + character + text[index + 1 :]
    if changed != text:
        assert parse(changed) is None


@given(st.text(max_size=120))
def test_nonsense_is_no_key(text):
    assert parse(text) is None


def test_what_is_stored_depends_on_pepper_kind_id_and_secret():
    parsed, _ = mint("key")
    others = [
        secret_hmac(b"other", parsed),
        secret_hmac(b"pepper", parsed._replace(kind="admin")),
        secret_hmac(b"pepper", parsed._replace(id="x" * 12)),
        secret_hmac(b"pepper", parsed._replace(secret="x" * 43)),
    ]
    assert secret_hmac(b"pepper", parsed) not in others
    assert parsed.secret.encode() not in secret_hmac(b"pepper", parsed)
