"""An engine's key: a file that others were given, or a new random one."""

import shlex
from contextlib import nullcontext
from pathlib import Path

import pytest

from gateway.cli import build_parser
from models.cli.engine import EXAMPLES
from models.engine import EngineSpec, read_api_key
from models.errors import EngineError
from models.supervisor import Supervisor, Timing
from tests.models.test_supervisor import Files

KEY = "k" * 32


class Recorder(EngineSpec):
    """Stands for vLLM: writes the key that it was given, and ends."""

    def command(self) -> list[str]:
        return ["sh", "-c", f'printf %s "$VLLM_API_KEY" > "{self.checkpoint}/key-seen"']


def key_that_the_engine_gets(home: Path, api_key_file: Path | None) -> str:
    files = Files()
    files.directory = home
    supervisor: Supervisor
    supervisor = Supervisor(
        Recorder(alias="f:base", digest="sha256:" + "0" * 64, checkpoint=home),
        home,
        pin=lambda: nullcontext(files),
        environment={"PATH": "/usr/bin:/bin"},
        timing=Timing(poll_seconds=0.01),
        on_state=lambda state, _: supervisor.stop() if state == "restarting" else None,
        api_key_file=api_key_file,
    )
    supervisor.run()
    return (home / "key-seen").read_text()


def test_a_given_key_is_used_without_its_line_end_and_never_changed(tmp_path: Path):
    given = tmp_path / "given"
    given.write_text(KEY + "\n")
    given.chmod(0o444)
    assert key_that_the_engine_gets(tmp_path, given) == KEY
    assert given.read_text() == KEY + "\n"
    assert not (tmp_path / "keys").exists()


def test_without_one_every_supervisor_makes_its_own(tmp_path: Path):
    first = key_that_the_engine_gets(tmp_path, None)
    assert len(first) >= 32
    assert key_that_the_engine_gets(tmp_path, None) != first


@pytest.mark.parametrize("content", [None, b"", b"short\n", b"\xff" * 40, b"k" * 40 + b"\nx"])
def test_a_file_without_a_key_is_refused_before_anything_starts(
    tmp_path: Path, content: bytes | None
):
    path = tmp_path / "given"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineError, match="key"):
        read_api_key(path)
    with pytest.raises(EngineError, match="key"):
        key_that_the_engine_gets(tmp_path, path)


@pytest.mark.parametrize(
    "line", [line.strip() for line in EXAMPLES.splitlines() if line.startswith("  airlock ")]
)
def test_the_examples_parse(line: str):
    words = shlex.split(line, comments=True)[1:]
    args = build_parser("engine").parse_args(words)
    assert args.extra == (words[words.index("--") + 1 :] if "--" in words else [])
