"""Domains of addresses: one spelling each, letter for letter, and free mail is nobody's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.mail_domains import (
    FREE_TOO,
    is_free_mail,
    is_of,
    is_relayed,
    mailbox_of,
    normal_domain,
    normal_email,
)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("lab.example", "lab.example"),
        ("LAB.Example", "lab.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("lab。example", "lab.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("学校.例え", "xn--48s290a.xn--r8jz45g"),
    ],
)
def test_a_domain_has_one_spelling(text, domain):
    assert normal_domain(text) == domain
    assert normal_domain(domain) == domain
    assert normal_email(f"Ada@{text}") == f"Ada@{domain}"


@pytest.mark.parametrize(
    "text",
    ["", "example", "lab.example.", ".example", "lab..example", "a_b.example", "-a.example",
     "a b.example", "lab.example\n", "127.0.0.1", "[::1]", "lab.example:25", "a@lab.example",
     "xn--zzzzzz.example", "\u202elab.example", "a" * 64 + ".example", "a." * 130 + "example"],
)  # fmt: skip
def test_what_is_no_domain(text):
    with pytest.raises(ValueError, match="this is no domain"):
        normal_domain(text)


@given(st.text(max_size=40))
def test_any_text_is_refused_or_spelled_in_ascii(text):
    try:
        domain = normal_domain(text)
    except ValueError:
        return
    assert domain.isascii()
    assert domain == domain.lower()
    assert normal_domain(domain) == domain


def test_a_listed_domain_counts_letter_for_letter_and_free_mail_never():
    listed = ["lab.example", "cs.lab.example", "gmail.com"]
    assert is_of("lab.example", listed)
    assert is_of("cs.lab.example", listed)
    for other in ("bio.lab.example", "xlab.example", "example", "lab.example.evil.example"):
        assert not is_of(other, listed)
    assert not is_of("gmail.com", listed), "also where a row says so"


@pytest.mark.parametrize(
    "domain", ["gmail.com", "x.gmail.com", "outlook.com", "gmx.de", *sorted(FREE_TOO)]
)
def test_free_mail(domain):
    assert is_free_mail(domain)
    assert not is_free_mail("lab.example")
    assert not is_free_mail("ox.ac.uk")


def test_an_address_that_may_lead_on_to_another_mailbox():
    for email in ("ada%evil.example@lab.example", "evil.example!ada@lab.example"):
        assert is_relayed(email)
    assert not is_relayed("ada+x.y-z_1@lab.example")


def test_a_mailbox_is_one_in_all_spellings():
    spellings = ("Ada@lab.example", "ada+x@lab.example", "ADA+y+z@lab.example")
    assert {mailbox_of(one) for one in spellings} == {"ada@lab.example"}
    assert mailbox_of("+x@lab.example") == "+x@lab.example"
