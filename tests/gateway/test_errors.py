"""The error tree and its table: every leaf has a row, every code is documented."""

from pathlib import Path

import pytest

from gateway import errors as e
from gateway.http_errors import HTTP_ERRORS, HttpError

DOCS = Path(__file__).resolve().parents[2] / "docs"
PARENTS = {e.RequestError, e.AuthenticationError}


def leaves(kind: type) -> list[type]:
    found = [leaf for child in kind.__subclasses__() for leaf in leaves(child)]
    return found + ([] if kind in PARENTS or kind is e.AirlockError else [kind])


def test_every_leaf_has_a_row_and_no_row_is_left_over():
    names = ("", "identity_", "precondition_", "contents_", "limit_")
    trees = {f"gateway.{name}errors" for name in names}
    raised_here = {leaf for leaf in leaves(e.AirlockError) if leaf.__module__ in trees}
    assert raised_here == set(HTTP_ERRORS)


def named(row: HttpError) -> str:
    """The type is told only where it says more than the code."""
    return row.code if row.type != "tokens" else f"{row.code} {row.type}"


@pytest.mark.parametrize("row", sorted(set(HTTP_ERRORS.values())), ids=named)
def test_every_code_is_documented(row):
    assert f"| {row.status} | `{row.code}` |" in (DOCS / "api.md").read_text()
