"""Who a header belongs to, judged on a snapshot alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import (
    AuthenticationError,
    ExpiredKeyError,
    InvalidKeyError,
    MissingKeyError,
    RevokedKeyError,
)
from gateway.identity.api_keys import ALPHABET, ParsedKey, _check, mint, secret_hmac
from gateway.identity.directory import Directory
from gateway.identity.key_records import KeyRecord
from gateway.identity.peppers import Peppers
from gateway.policy.grants import GrantTerms, Standing, TierTerms

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PEPPER = b"p" * 32
TIER = TierTerms("researcher", grantable=True, requests_per_minute=1, capabilities=frozenset())


def text_of(parsed: ParsedKey) -> str:
    body = f"airlock_{parsed.kind}_{parsed.id}_{parsed.secret}"
    return f"{body}_{_check(body)}"


def directory(parsed: ParsedKey, *, active: bool = True, **changes) -> Directory:
    person = "ada" if parsed.kind == "key" else None
    stored = secret_hmac(PEPPER, parsed)
    record = KeyRecord(parsed.id, parsed.kind, person, stored, 1, None, None)
    grants = (GrantTerms("bio", NOW - HOUR, NOW + HOUR, None),)
    return Directory(
        Peppers({1: PEPPER}),
        {parsed.id: replace(record, **changes)},
        {"ada": Standing(TIER, active)},
        {"ada": grants},
    )


def test_a_live_key_is_its_person_with_the_grants_of_the_moment():
    parsed, text = mint("key")
    principal = directory(parsed).authenticate(f"Bearer {text}", NOW)
    assert principal.person_id == "ada"
    assert principal.domains(NOW) == {"bio"}
    assert principal.domains(NOW + HOUR) == set()


def test_the_right_id_with_any_other_secret_is_refused():
    parsed, _ = mint("key")
    for index in range(len(parsed.secret)):
        old = parsed.secret[index]
        new = ALPHABET[(ALPHABET.index(old) + 1) % len(ALPHABET)]
        forged = parsed._replace(secret=parsed.secret[:index] + new + parsed.secret[index + 1 :])
        with pytest.raises(InvalidKeyError):
            directory(parsed).authenticate(f"Bearer {text_of(forged)}", NOW)


def test_a_key_that_nobody_has_is_refused():
    parsed, _ = mint("key")
    _, other = mint("key")
    with pytest.raises(InvalidKeyError):
        directory(parsed).authenticate(f"Bearer {other}", NOW)


def test_one_kind_of_key_never_opens_the_other_door():
    for kind, other in (("key", "admin"), ("admin", "key")):
        parsed, text = mint(kind)
        known = directory(parsed)
        wrong = known.authenticate_admin if kind == "key" else known.authenticate
        renamed = text_of(parsed._replace(kind=other))
        for header in (text, renamed):
            with pytest.raises(InvalidKeyError):
                wrong(f"Bearer {header}", NOW)
    parsed, text = mint("admin")
    assert directory(parsed).authenticate_admin(f"Bearer {text}", NOW).key_id == parsed.id


def test_another_pepper_knows_no_key():
    parsed, text = mint("key")
    with pytest.raises(InvalidKeyError):
        replace(directory(parsed), peppers=Peppers({1: b"q" * 32})).authenticate(
            f"Bearer {text}", NOW
        )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"expires_at": NOW}, ExpiredKeyError),
        ({"expires_at": NOW + HOUR}, None),
        ({"revoked_at": NOW}, RevokedKeyError),
        ({"revoked_at": NOW + HOUR, "is_rotated": True}, None),
        ({"revoked_at": NOW + HOUR}, RevokedKeyError),  # By a clock that is ahead.
        ({"revoked_at": NOW - HOUR, "expires_at": NOW - HOUR}, RevokedKeyError),
        ({"active": False}, RevokedKeyError),
        ({"person_id": "nobody"}, RevokedKeyError),
    ],
)
def test_what_ends_a_key(changes, error):
    parsed, text = mint("key")
    known = directory(parsed, **changes)
    if error is None:
        assert known.authenticate(f"Bearer {text}", NOW).key_id == parsed.id
        assert known.principal(parsed.id, NOW) is not None
    else:
        with pytest.raises(error):
            known.authenticate(f"Bearer {text}", NOW)
        assert known.principal(parsed.id, NOW) is None


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Token x", "airlock_key_x"])
def test_no_key_at_all(header):
    parsed, _ = mint("key")
    with pytest.raises(MissingKeyError):
        directory(parsed).authenticate(header, NOW)


def test_wrong_keys_are_all_refused_in_the_same_words():
    parsed, text = mint("key")
    said = set()
    for wrong in (text[:-1] + "!", text_of(parsed._replace(secret="x" * 43)), mint("key")[1]):
        with pytest.raises(AuthenticationError) as refused:
            directory(parsed).authenticate(f"Bearer {wrong}", NOW)
        said.add(str(refused.value))
    assert len(said) == 1
