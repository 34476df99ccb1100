"""What a verb takes for a number, and that no other reaches a database, a calendar or a server."""

import argparse
from collections.abc import Iterator

import pytest

from gateway.cli import VERBS, build_parser, main
from models.cli.numbers import port, whole

BOUNDED = {"--port", "--attest-port", "--limit", "--offset"}


@pytest.mark.parametrize("word", ["1", "9", " 2 "])
def test_a_number_within_bounds_is_taken(word: str):
    assert whole(1, 9)(word) == int(word)


@pytest.mark.parametrize("word", ["0", "10", "-1", "x", "1.0", "", "9" * 5000])
def test_any_other_word_is_refused(word: str):
    with pytest.raises(argparse.ArgumentTypeError):
        whole(1, 9)(word)


def test_a_port_is_one_that_there_is():
    assert (port("0"), port("65535")) == (0, 65_535)
    with pytest.raises(argparse.ArgumentTypeError, match="not between 0 and 65535"):
        port("65536")


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from actions(inner)


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_port_and_every_place_in_a_list_has_bounds(verb: str):
    """A database refuses 64 bits with a traceback, and a server listens on another port."""
    if verb == "evaluate":
        return  # Its limit goes into no database.
    for action in actions(build_parser(verb)):
        if BOUNDED & set(action.option_strings):
            assert callable(action.type)
            for word in ("-1", str(2**31), str(2**64)):
                with pytest.raises(argparse.ArgumentTypeError):
                    action.type(word)


@pytest.mark.parametrize(
    "words",
    [
        ("serve", "--port", "99999"),
        ("people", "list", "--offset", str(2**64)),
        ("trust", "add", "00", "--holder", "x", "--role", "engine", "--days", str(2**31)),
        ("promote", "abcdef", "--as", "a:b", "--days", str(2**40)),
    ],
    ids=lambda words: words[0],
)
def test_a_number_beyond_bounds_ends_with_what_they_are(words, capsys):
    with pytest.raises(SystemExit) as ended:
        build_parser(words[0]).parse_args(words)
    assert ended.value.code == 2
    assert f"{words[-1]} is not between" in capsys.readouterr().err


def test_a_waiver_beyond_its_longest_ends_with_what_that_is(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["gate", "waive", "a.b", "--key", "k", "--days", str(2**40)])
    assert ended.value.code == 2
    assert "is not between 1 and 180" in capsys.readouterr().err
