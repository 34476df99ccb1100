"""Organisations' names are compared without width, composition and what nobody sees.

Revision ID: 0013
Revises: 0012
"""

import unicodedata
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f") | frozenset(
    map(chr, range(0xFE00, 0xFE10))
)
ORGANISATIONS = sa.table(
    "organisations", *(sa.column(name, sa.String()) for name in ("id", "name", "name_key"))
)


def upgrade() -> None:
    """Compare names as they look."""
    _rekey(_key)


def downgrade() -> None:
    """Compare them without case and spacing alone."""
    _rekey(lambda name: " ".join(name.split()).casefold())


def _rekey(key_of: Callable[[str], str]) -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.select(ORGANISATIONS).order_by(ORGANISATIONS.c.id)).all()
    taken = {row.name_key for row in rows}
    for row in rows:
        key = key_of(row.name)
        # Two that are one by now stay two: people and decisions name them. Who comes under either
        # name from now on is of the one whose key it is.
        if key in taken or len(key) > 600:
            continue
        taken = (taken - {row.name_key}) | {key}
        where = ORGANISATIONS.c.id == row.id
        connection.execute(sa.update(ORGANISATIONS).where(where).values(name_key=key))


def _key(name: str) -> str:
    wide = unicodedata.normalize("NFKC", name)
    seen = "".join(
        sign
        for sign in wide
        if sign.isspace() or (sign not in UNSEEN and unicodedata.category(sign) not in ("Cc", "Cf"))
    )
    return " ".join(unicodedata.normalize("NFKC", seen.casefold()).split())
