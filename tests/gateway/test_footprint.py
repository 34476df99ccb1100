"""What a worker holds in memory: nothing that answering requests does not need."""

import re

from tests.benchmarks.gateway.ours import airlock

IMPORTED = re.compile(r"^import time: *\d+ \| *\d+ \| *([a-z0-9_]+)", re.MULTILINE)
NOT_NEEDED = {
    "alembic",  # for a schema that is not current
    "authlib",  # for logins
    "numpy",
    "opentelemetry",  # for who exports traces
    "pygments",
    "redis",  # for several workers that share limits
    "rich",  # for terminals
    "scipy",  # for the gate's verdicts
    "torch",
    "transformers",
    "vllm",
}


def test_a_worker_that_answers_has_loaded_nothing_heavy(tmp_path):
    """`airlock` has had a request answered by the time it yields."""
    with airlock(tmp_path, python=("-X", "importtime")) as gateway:
        told = (tmp_path / f"gateway-{gateway.port}.log").read_text()
    loaded = set(IMPORTED.findall(told))
    assert {"gateway", "uvicorn", "sqlalchemy", "fastapi"} <= loaded
    assert loaded & NOT_NEEDED == set()
