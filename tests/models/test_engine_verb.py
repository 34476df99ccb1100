"""`airlock engine`: what its words make of the launcher, the side-car and the supervisor."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.cli import build_parser
from models.cli import engine


def started(
    home: Path, monkeypatch: pytest.MonkeyPatch, supervisor: Callable[..., object], *words: str
) -> None:
    launcher = SimpleNamespace(release=lambda: None, spec=lambda release, placement: None)
    monkeypatch.setattr(engine, "Launcher", lambda *_: launcher)
    monkeypatch.setattr(engine, "read_machine_key", lambda path: None)
    monkeypatch.setattr(engine, "SideCar", lambda *_, **__: nullcontext(SimpleNamespace(url="")))
    monkeypatch.setattr(engine, "Supervisor", supervisor)
    monkeypatch.setattr(engine.signal, "signal", lambda *_: None)
    args = build_parser("engine").parse_args(["engine", *words, "smollm2:base"])
    args.home = home
    assert engine.run(args) == 0


@pytest.mark.parametrize(("words", "seconds"), [((), 600), (("--start-timeout", "3600"), 3600)])
def test_the_supervisor_waits_as_long_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], seconds: float
):
    given = {}

    def supervisor(*_: object, timing, **__: object) -> SimpleNamespace:
        given["seconds"] = timing.start_timeout_seconds
        return SimpleNamespace(run=lambda: None, stop=lambda: None, running=None)

    started(tmp_path, monkeypatch, supervisor, *words)
    assert given == {"seconds": seconds}


def test_what_the_supervisor_says_is_shown_as_it_is_and_ends_no_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """It names files and what went wrong, in which `[/x]` would be a closing tag."""

    def supervisor(*_: object, on_state, **__: object) -> SimpleNamespace:
        on_state("restarting", "no such file: [/x]\x1b[2J")
        return SimpleNamespace(run=lambda: None, stop=lambda: None, running=None)

    started(tmp_path, monkeypatch, supervisor)
    assert capsys.readouterr().out == ("smollm2:base restarting: no such file: [/x]\ufffd[2J\n")
