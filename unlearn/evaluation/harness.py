"""The installed lm-evaluation-harness: its version, whether its files are its own, its tasks.

Nothing here imports it; its task definitions are read as the YAML files that they are.
"""

import base64
import hashlib
from functools import cache
from importlib.metadata import distribution, version
from pathlib import Path
from typing import NamedTuple, cast

import yaml
from pydantic import JsonValue

from models.documents import Digest, digest_of
from models.report import Harness
from unlearn.errors import SuiteError

NAME = "lm-evaluation-harness"
PACKAGE, FOLDER = "lm_eval", "lm_eval"
SEED = 1234
# What says where a task's rows are, or only how the harness lists it: not part of the prompt.
NOT_THE_PROMPT = {"dataset_path", "dataset_name", "dataset_kwargs", "task", "task_alias", "tag"}
NOT_THE_PROMPT |= {"test_split", "training_split", "validation_split", "fewshot_split", "include"}


class HarnessTask(NamedTuple):
    """One of the harness's own tasks."""

    definition: dict[str, JsonValue]
    dataset: str
    config: str
    test_split: str
    examples_split: str | None


def harness_version() -> str:
    """Return the version of the installed harness."""
    return version(PACKAGE)


@cache
def describe() -> Harness:
    """Return the report's record of the installed harness; every file of it is hashed."""
    digest, clean = _installed(Path(str(distribution(PACKAGE).locate_file(""))))
    return Harness(name=NAME, version=harness_version(), digest=digest, clean=clean, seed=SEED)


def own_task(name: str) -> HarnessTask:
    """Return one of the harness's own tasks.

    Raises:
        SuiteError: The installed harness has no such task.
    """
    found = _tasks().get(name)
    if found is None:
        raise SuiteError(name, f"lm-eval {harness_version()} has no such task")
    config = _read_yaml(found)
    return HarnessTask(
        definition={k: v for k, v in config.items() if k not in NOT_THE_PROMPT},
        dataset=str(config["dataset_path"]),
        config=str(config["dataset_name"]),
        test_split=str(config["test_split"]),
        examples_split=str(split) if (split := config.get("fewshot_split")) else None,
    )


def own_tasks(prefix: str) -> tuple[str, ...]:
    """Return the names of the harness's WMDP or MMLU tasks that start with a prefix."""
    return tuple(name for name in sorted(_tasks()) if name.startswith(prefix))


@cache
def _tasks() -> dict[str, Path]:
    root = Path(str(distribution(PACKAGE).locate_file(""))) / FOLDER / "tasks"
    files = [*(root / "wmdp").glob("wmdp_*.yaml"), *(root / "mmlu" / "default").glob("mmlu_*.yaml")]
    return {path.stem: path for path in files}


def _read_yaml(path: Path) -> dict[str, JsonValue]:
    """Return a task's file, merged over the one that it includes."""
    config = cast(dict[str, JsonValue], yaml.safe_load(path.read_text(encoding="utf-8")))
    include = config.get("include")
    return {**(_read_yaml(path.parent / str(include)) if include else {}), **config}


def _installed(root: Path) -> tuple[Digest, bool]:
    """Return the digest of a package's files, and whether they are the ones that it lists."""
    listed = {
        file.as_posix(): file.hash.value if file.hash else None
        for file in distribution(PACKAGE).files or ()
        if file.parts[0] == FOLDER
    }
    actual = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes())
        for path in (root / FOLDER).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    found = {
        name: base64.urlsafe_b64encode(value.digest()).rstrip(b"=").decode()
        for name, value in actual.items()
    }
    expected = {name: value for name, value in listed.items() if not name.endswith(".pyc")}
    digest = digest_of({name: value.hexdigest() for name, value in actual.items()})
    return digest, bool(expected) and found == expected
