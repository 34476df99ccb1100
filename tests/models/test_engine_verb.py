"""`airlock engine`: what its words make of the launcher, the side-car and the supervisor."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.cli import build_parser
from models.cli import engine


@pytest.mark.parametrize(("words", "seconds"), [((), 600), (("--start-timeout", "3600"), 3600)])
def test_the_supervisor_waits_as_long_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], seconds: float
):
    given = {}

    def supervisor(*_: object, timing, **__: object) -> SimpleNamespace:
        given["seconds"] = timing.start_timeout_seconds
        return SimpleNamespace(run=lambda: None, stop=lambda: None, running=None)

    launcher = SimpleNamespace(release=lambda: None, spec=lambda release, placement: None)
    monkeypatch.setattr(engine, "Launcher", lambda *_: launcher)
    monkeypatch.setattr(engine, "read_machine_key", lambda path: None)
    monkeypatch.setattr(engine, "SideCar", lambda *_, **__: nullcontext(SimpleNamespace(url="")))
    monkeypatch.setattr(engine, "Supervisor", supervisor)
    monkeypatch.setattr(engine.signal, "signal", lambda *_: None)
    args = build_parser("engine").parse_args(["engine", *words, "smollm2:base"])
    args.home = tmp_path
    assert engine.run(args) == 0
    assert given == {"seconds": seconds}
