"""House rules that a linter does not know: each names the reason in its message."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLANES = ("gateway", "models", "unlearn")
MAX_LINES = 300
# A module is named for the noun it holds; these names hold whatever was left over.
BANNED_NAMES = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py", "base.py", "core.py"}


def modules() -> list[Path]:
    return [path for plane in PLANES for path in sorted((ROOT / plane).rglob("*.py"))]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", modules(), ids=name)
def test_module_is_short_and_named_for_its_noun(path: Path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{name(path)} has {lines} lines: is there a second noun inside?"
    assert path.name not in BANNED_NAMES, f"{name(path)}: name the module for what it holds"


@pytest.mark.parametrize("path", modules(), ids=name)
def test_only_db_commits(path: Path):
    if name(path) == "gateway/db.py":
        return
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "commit"
    ]
    assert not calls, (
        f"{name(path)}:{calls} commits: a request is one transaction, ended in gateway/db.py, "
        "so that no answer leaves before its rows are safe"
    )


@pytest.mark.parametrize("path", modules(), ids=name)
def test_module_says_what_it_owns(path: Path):
    source = path.read_text()
    if source.strip():
        assert ast.get_docstring(ast.parse(source)), f"{name(path)} has no module docstring"
