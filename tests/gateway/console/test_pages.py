"""The console's files: what they are served with, and what they ask of the admin API."""

import re
from pathlib import Path

import httpx
import pytest

from gateway.console.pages import FILES, HEADERS, HOME
from gateway.controlplane.permissions import MAY
from gateway.policy.evidence import PROVES
from tests.gateway.conftest import make_settings, run_gateway

SCRIPTS = sorted(FILES.rglob("*.js"))
EVERY = sorted(path.relative_to(FILES) for path in FILES.rglob("*") if path.is_file())
ASKED = re.compile(
    r"""\b(?P<by>get|post|paged)\((?P<text>["`][^"`]*["`])"""
    r"""|\b(?:call|exchange)\("(?P<method>[A-Z]+)",\s(?P<path>["`][^"`]*["`]|\w+)"""
)
VARIABLES = {"at": "/people/{}"}
"""What a path that is built above is called."""


@pytest.fixture(scope="module")
def url(request, tmp_path_factory):
    settings = make_settings(request, tmp_path_factory.mktemp("pages"), "sqlite")
    with run_gateway(settings) as running:
        yield running.url


def test_whoever_types_the_host_comes_to_the_console(url):
    for path in ("/", "/console"):
        answer = httpx.get(url + path)
        assert (answer.status_code, answer.headers["location"]) == (307, HOME)


@pytest.mark.parametrize("name", [str(name) for name in EVERY])
def test_every_file_is_served_with_what_browsers_are_to_keep_to(url, name):
    answer = httpx.get(f"{url}{HOME}{name}")
    assert answer.status_code == 200
    assert answer.content == (FILES / name).read_bytes()
    assert {header: answer.headers[header] for header in HEADERS} == HEADERS
    again = httpx.get(f"{url}{HOME}{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == HEADERS["content-security-policy"]


def test_nothing_inline_or_foreign_runs_and_no_page_is_around_it():
    said = HEADERS["content-security-policy"].split("; ")
    assert dict(one.split(" ", 1) for one in said) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert HEADERS["x-content-type-options"] == "nosniff"


def test_the_first_page_is_the_folders(url):
    assert httpx.get(url + HOME).content == (FILES / "index.html").read_bytes()


@pytest.mark.parametrize("path", ["none.js", "../pages.py", "%2e%2e/pages.py", "views", "views/"])
def test_nothing_else_is_served(url, path):
    answer = httpx.get(url + HOME + path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_files_are_only_read(url):
    answer = httpx.post(url + HOME, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


def test_nothing_is_loaded_from_elsewhere_and_nothing_becomes_markup():
    for path in [*SCRIPTS, FILES / "index.html", FILES / "console.css"]:
        text = path.read_text()
        foreign = re.findall(r"(?:https?:)?//[\w.]+/\S*", re.sub(r"^\s*//.*", "", text, flags=re.M))
        assert foreign == [], path.name
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "style=",
        ):
            assert word not in text, (path.name, word)


def asked(script: Path) -> set[tuple[str, str]]:
    """The routes of the admin API that a script asks, variables as `{}`."""
    found = set()
    for match in ASKED.finditer(script.read_text()):
        method = match["method"] or ("POST" if match["by"] == "post" else "GET")
        text = match["text"] or match["path"]
        path = VARIABLES.get(text) or text.strip('"`').partition("?")[0]
        found.add((method, path))
    return found


ROUTES = {(method, re.sub(r"{\w+}", "{}", path)) for method, path in MAY}


def normal(path: str) -> str:
    """A path with `{}` for each of its variables."""
    path = path.replace("${at}", VARIABLES["at"])
    return re.sub(r"\$\{[^}]*\}", "{}", path)


def test_what_the_pages_ask_are_routes_of_the_admin_api():
    found = {(method, normal(path)) for script in SCRIPTS for method, path in asked(script)}
    # Names that `api.js` and its like give, and steps whose name is a variable.
    named = {
        (method, path) for method, path in found if path.startswith("/") and "/login" not in path
    }
    assert len(named) > 25
    unknown = {
        (method, path)
        for method, path in named
        if not any(
            method == one and re.fullmatch(path.replace("{}", "[^/]+"), other.replace("{}", "x"))
            for one, other in ROUTES
        )
    }
    assert unknown - {("POST", "/logout")} == set()


def test_whose_word_is_offered_for_evidence_is_whose_counts():
    words = (FILES / "words.js").read_text()
    table = words.partition("COUNTS = {")[2].partition("};")[0]
    offered = {
        (kind, by)
        for kind, named in re.findall(r"(\w+): \[([^\]]*)\]", table)
        for by in re.findall(r'"(\w+)"', named)
    }
    assert offered == {(str(kind), str(by)) for kind, by in PROVES}
