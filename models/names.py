"""Names of people and organisations as they look: two that look alike are one. Pure."""

import unicodedata

# Besides what Unicode calls format and control: joiners, fillers, a blank, selectors of variants,
# and what has no meaning yet and is not to be shown (Default_Ignorable_Code_Point, UAX #44).
UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065\u2800").union(
    *(map(chr, run) for run in (range(0xFE00, 0xFE10), range(0xFFF0, 0xFFF9))),
    map(chr, range(0xE0000, 0xE1000)),
)


def name_key(name: str) -> str:
    """Return a name without case, spacing, width and what nobody sees.

    A colleague must not be somebody of another organisation, nor one person two signers, by how a
    name was typed.
    """
    wide = unicodedata.normalize("NFKC", name)
    seen = "".join(
        sign
        for sign in wide
        if sign.isspace() or (sign not in UNSEEN and unicodedata.category(sign) not in ("Cc", "Cf"))
    )
    return " ".join(unicodedata.normalize("NFKC", seen.casefold()).split())
