"""Imported bases: `airlock checkpoints import`, and what it refuses."""

import json
from pathlib import Path

import pytest

from gateway.cli import main
from models.errors import CheckpointRefusedError
from models.store import CheckpointStore
from tests.models.checkpoints import put_candidate

WORDS = ("--family", "zephyr-7b", "--hazard", "cyber", "--hazard", "bio")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    directory = tmp_path / "zephyr"
    (directory / "parts").mkdir(parents=True)
    (directory / "parts" / "model-1.safetensors").write_bytes(b"weights")
    (directory / "config.json").write_text("{}")
    return directory


@pytest.fixture
def run(tmp_path: Path, capsys):
    """Import a directory; return what is printed."""

    def take(directory: Path, *words: str, status: int = 0) -> str:
        verb = ("--home", str(tmp_path / "home"), "checkpoints", "import", str(directory))
        assert main([*verb, *(words or WORDS)]) == status
        printed = capsys.readouterr()
        return printed.out if status == 0 else printed.err

    return take


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "home" / "store")


def test_a_directory_becomes_a_base_of_its_family(run, store: CheckpointStore, weights: Path):
    said = run(weights, *WORDS, "--package", "h4/zephyr", "--version", "892b", "--license", "mit")
    (base,) = store.manifests()
    assert base.digest in said
    assert (base.family, base.hazards, base.is_base) == ("zephyr-7b", ("bio", "cyber"), True)
    assert [entry.path for entry in base.files] == ["config.json", "parts/model-1.safetensors"]
    assert base.source is not None
    assert (base.source.name, base.source.package) == ("zephyr", "h4/zephyr")
    assert (base.source.version, base.source.license) == ("892b", "mit")
    assert base.source.sha256 == base.digest.removeprefix("sha256:")
    # What is outside stays as it is, and cannot change what is inside.
    (weights / "parts" / "model-1.safetensors").write_bytes(b"other")
    assert store.verify(base.digest) == base
    assert list((store.root / "staging").iterdir()) == []


def test_a_dry_run_stores_nothing(run, store: CheckpointStore, weights: Path):
    said = run(weights, *WORDS, "--dry-run")
    assert "nothing was stored" in said
    assert not store.root.exists()
    run(weights)
    assert store.manifests()[0].digest in said


def test_the_same_bytes_are_one_base(run, store: CheckpointStore, weights: Path):
    assert run(weights) == run(weights)
    refused = run(weights, "--family", "zephyr-7b", "--hazard", "bio", status=22)
    assert "is here already, in the family zephyr-7b with bio, cyber" in refused
    (base,) = store.manifests()
    candidate = put_candidate(store, base.digest, b"unlearned")
    copy = weights.with_name("copy")
    copy.mkdir()
    (copy / "model.safetensors").write_bytes(b"unlearned")
    words = ("--family", candidate.family, "--hazard", "capitals")
    assert "as a candidate of smollm2" in run(copy, *words, status=22)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("pytorch_model.bin", "x", "no pickles or code"),
        ("modeling_zephyr.py", "x", "no pickles or code"),
        ("README.md", "x", "files are kept"),
        ("config.json", json.dumps({"auto_map": {"a": "b"}}), "auto_map"),
        ("tokenizer_config.json", json.dumps({"auto_map": {"a": "b"}}), "auto_map"),
        ("config.json", "{", "no JSON"),
        ("config.json", "5", "no JSON object"),
    ],
)
def test_what_may_not_enter_is_said_and_nothing_is_stored(
    run, store: CheckpointStore, weights: Path, name: str, content: str, problem: str
):
    (weights / name).write_text(content)
    assert problem in run(weights, status=CheckpointRefusedError.exit_code)
    assert not store.root.exists()


def test_what_is_no_checkpoint_is_refused(run, tmp_path: Path, weights: Path):
    assert "no safetensors weights" in run(tmp_path / "nothing", status=22)
    (weights / "config.json").unlink()
    (weights / "config.json").symlink_to("/etc/hostname")
    assert "symbolic link" in run(weights, status=22)
    for words in (("--family", "Zephyr 7B"), ("--hazard", "bio/cyber")):
        with pytest.raises(SystemExit) as ended:
            run(weights, *WORDS, *words)
        assert ended.value.code == 2
