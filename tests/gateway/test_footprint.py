"""What a worker holds in memory: nothing that answering requests does not need."""

import re

from gateway.app import create_app
from gateway.controlplane.routers import ROUTERS
from gateway.settings import Settings
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


def test_no_admin_route_is_made_twice(tmp_path):
    """Each has its models' validators; FastAPI would make them anew for the application."""
    (tmp_path / "secret").write_bytes(b"s" * 32)
    app = create_app(Settings(home=tmp_path, secret_file=tmp_path / "secret")).http
    served = {id(route) for route in app.routes}
    assert {id(route) for router in ROUTERS for route in router.routes} <= served
