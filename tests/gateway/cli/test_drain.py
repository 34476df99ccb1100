"""`airlock serve` as a process of its own: what SIGTERM does to streams that run."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.benchmarks.gateway.ours import airlock
from tests.servers import wait_for


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(("drain_seconds", "is_whole"), [(20, True), (1, False)])
@pytest.mark.timed
def test_a_stream_ends_within_the_grace_time_and_is_cut_after(
    tmp_path, monkeypatch, drain_seconds, is_whole
):
    monkeypatch.setenv("AIRLOCK_DRAIN_SECONDS", str(drain_seconds))
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 100,
        "stream": True,
    }
    with airlock(tmp_path, event_ms=30.0) as target:
        url = f"http://127.0.0.1:{target.port}{target.path}"
        text, stopped = "", 0.0
        try:
            with httpx.stream("POST", url, json=body, headers=target.headers, timeout=30) as answer:
                for part in answer.iter_text():
                    text += part
                    if not stopped:
                        os.kill(target.pid, signal.SIGTERM)
                        stopped = time.monotonic()
                        time.sleep(0.3)
                        with pytest.raises(httpx.ConnectError):
                            httpx.post(url, json=body, headers=target.headers)
        except httpx.RemoteProtocolError:
            assert not is_whole
        assert text.rstrip().endswith("data: [DONE]") == is_whole
        wait_for(lambda: not is_running(target.pid))
        assert time.monotonic() - stopped < 8
