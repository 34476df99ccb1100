"""Every process collects the same tests under the same names: pytest-xdist gives up otherwise."""

import os
import subprocess
import sys

import pytest


def collected_elsewhere(config: pytest.Config) -> list[str]:
    """What another process collects, a second or more later and with another hash seed."""
    chosen = ["-m", config.option.markexpr, "-k", config.option.keyword, *config.args]
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *chosen],
        cwd=config.invocation_params.dir,
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in found.stdout.splitlines() if "::" in line]


def test_another_process_collects_the_same_tests(request):
    assert collected_elsewhere(request.config) == [item.nodeid for item in request.session.items]
