"""The installed harness: whether its files are those that were published, and its tasks."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from unlearn.errors import SuiteError
from unlearn.evaluation import harness


@dataclass
class Hash:
    value: str


@dataclass
class Listed:
    path: PurePosixPath
    hash: Hash | None

    @property
    def parts(self):
        return self.path.parts

    def as_posix(self):
        return self.path.as_posix()


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package of two files, installed as its record lists them."""
    files = {"lm_eval/evaluator.py": b"x = 1\n", "lm_eval/tasks/wmdp/wmdp_bio.yaml": b"task: x\n"}
    listed = []
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        listed.append(Listed(PurePosixPath(name), Hash(digest)))
    listed.append(Listed(PurePosixPath("lm_eval-1.dist-info/RECORD"), None))

    class Distribution:
        files = listed

    monkeypatch.setattr(harness, "distribution", lambda _: Distribution)
    return tmp_path


def test_an_untouched_harness_is_clean(package):
    digest, clean = harness._installed(package)
    assert clean
    (package / "lm_eval" / "__pycache__").mkdir()
    (package / "lm_eval" / "__pycache__" / "x.pyc").write_bytes(b"compiled")
    assert harness._installed(package) == (digest, True)


@pytest.mark.parametrize("fault", ["edited", "added", "removed"])
def test_any_change_makes_it_dirty(package, fault):
    before, _ = harness._installed(package)
    path = package / "lm_eval" / "evaluator.py"
    if fault == "edited":
        path.write_bytes(b"x = 2\n")
    elif fault == "added":
        (package / "lm_eval" / "more.py").write_bytes(b"")
    else:
        path.unlink()
    digest, clean = harness._installed(package)
    assert not clean
    assert digest != before


def test_the_installed_one_is_as_published():
    found = harness.describe()
    assert found.clean
    assert found.version == "0.4.13"


def test_its_tasks_are_read_with_what_they_include():
    bio = harness.own_task("wmdp_bio")
    assert (bio.dataset, bio.config, bio.test_split) == ("cais/wmdp", "wmdp-bio", "test")
    assert bio.definition["metric_list"]
    assert "include" not in bio.definition
    assert harness.own_task("mmlu_virology").examples_split == "dev"
    assert len(harness.own_tasks("mmlu_")) == 57
    with pytest.raises(SuiteError, match="no such task"):
        harness.own_task("wmdp_physics")
