"""Every setting, metric, verb and request field is documented where people look."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from gateway.cli import VERBS, build_parser, requested_verb
from gateway.dataplane.endpoints import ENDPOINTS
from gateway.metrics import Metrics
from gateway.policy.capabilities import Capability
from gateway.policy.notices import SECURITY, Event
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
API = (ROOT / "docs/api.md").read_text()
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "SECURITY.md"]
COMMAND = re.compile(
    r"^(?:docker compose run --rm (?:--\S+ )*(?:job|fetch|trust|gateway|engine-\w+|backup) "
    r"|docker compose exec (?:--\S+ )*gateway airlock |kubectl .* exec \S+ -- airlock "
    r"|(?:[A-Z_]+=\S+ )*airlock )(.+)$"
)


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_documented(name):
    assert f"| `AIRLOCK_{name.upper()}` |" in (ROOT / "docs/settings.md").read_text()


def test_every_documented_setting_exists():
    documented = re.findall(r"\| `AIRLOCK_([A-Z_]+)` \|", (ROOT / "docs/settings.md").read_text())
    assert {name.lower() for name in documented} == set(Settings.model_fields)


def test_every_metric_is_documented_and_every_documented_one_exists():
    kinds = {"counter": "_total", "info": "_info"}
    declared = {
        family.name + kinds.get(family.type, "")
        for family in Metrics("0").registry.collect()
        if family.name.startswith("airlock_")
    }
    documented = set(re.findall(r"^\| `(airlock_[a-z_]+)` \|", API, re.MULTILINE))
    assert documented == declared


@pytest.mark.parametrize("path", list(ENDPOINTS))
def test_every_endpoint_and_request_field_is_documented(path):
    assert path in API
    for field in ENDPOINTS[path].decoder.type.__struct_fields__:
        assert f"`{field}" in API, field


@pytest.mark.parametrize("page", ["threats", "gate"])
def test_every_test_that_a_page_names_exists(page):
    text = (ROOT / f"docs/{page}.md").read_text()
    named = set(re.findall(r"`(tests/[a-z_/]+\.py)`", text))
    assert len(named) >= 8
    assert not [path for path in named if not (ROOT / path).is_file()]


@pytest.mark.parametrize("capability", list(Capability))
def test_every_capability_is_documented(capability):
    assert f"| `{capability}` |" in API


@pytest.mark.parametrize("event", list(Event))
def test_every_event_is_documented_with_whether_it_can_be_turned_off(event):
    text = (ROOT / "docs/notices.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("|") and f"`{event}`" in line]
    assert row.rstrip(" |").rpartition("| ")[2].startswith("no" if event in SECURITY else "yes")


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help_with_examples(verb, capsys):
    from gateway.cli import main

    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert "example" in capsys.readouterr().out
    assert f"`airlock {verb}" in (ROOT / "README.md").read_text()


def commands(page: Path) -> list[str]:
    """What a page says to type after `airlock`, in a line of its own or between backticks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    lines += re.findall(r"`(docker compose run [^`]+)`", page.read_text())
    found = [COMMAND.match(line) for line in lines]
    return [re.split(r" [|>] ", each[1])[0] for each in found if each and "…" not in each[1]]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem
)
def test_every_command_of_a_page_parses(page):
    for command in commands(page):
        words = shlex.split(command, comments=True)
        build_parser(requested_verb(words)).parse_args(words)


def mentions(page: Path) -> list[list[str]]:
    """What a page says of `airlock` in passing, by its words: some are whole commands, most not."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [found.split(" -- ")[0].split() for found in re.findall(r"`airlock ([^`]+)`", prose)]


def choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs or actions that a parser knows."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if mentions(page)], ids=lambda page: page.stem
)
def test_every_verb_action_and_flag_that_a_page_mentions_exists(page):
    for words in mentions(page):
        if words[0] == "VERB" or words[0].startswith("--"):
            continue
        assert words[0] in VERBS, words
        parser = choices(build_parser(words[0]))[words[0]]
        rest = words[1:]
        while rest and (actions := choices(parser)) and not rest[0].startswith("-"):
            assert rest[0].strip("…") in {*actions, ""}, words
            parser = actions.get(rest.pop(0), parser)
        if words[:2] == ["gate", "power"]:
            continue  # It reads its words itself.
        known = {option for action in parser._actions for option in action.option_strings}
        assert {word for word in rest if word.startswith("--")} <= known, words


def test_pages_hold_commands():
    assert {"backup", "deploy", "production", "release", "upgrade"} <= {
        page.stem for page in PAGES if commands(page)
    }
