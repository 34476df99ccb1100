"""The proxy of the stack, as a real nginx: what passes, what does not, and what nobody loses."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.controlplane.bounds import LONGER
from gateway.errors import NotReadyError
from gateway.http_errors import HTTP_ERRORS
from gateway.settings import Settings
from tests.benchmarks.gateway.ours import airlock
from tests.benchmarks.gateway.peers import Target
from tests.deploy.nginx import NAMES, NGINX, ROOT, Proxy, ended, pause, proxy, written
from tests.servers import free_port, wait_for

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (apt: nginx-light)")
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def gateways(tmp_path_factory) -> Iterator[Target]:
    """Two gateways on one database, before an engine that says 50 words in a good second."""
    with airlock(tmp_path_factory.mktemp("gateways"), event_ms=25.0, workers=2) as target:
        yield target


@pytest.fixture(scope="module")
def front(gateways: Target, tmp_path_factory) -> Iterator[Proxy]:
    with proxy(tmp_path_factory.mktemp("proxy") / "nginx", gateways.ports) as made:
        yield made


def body(**given) -> dict:
    message = {"role": "user", "content": "Hi"}
    return {"model": "smollm2", "messages": [message], "max_tokens": 50, **given}


def stream(front: Proxy, target: Target) -> tuple[str, list[float]]:
    """Ask for a stream; return it, and when each part came."""
    text, moments = "", []
    url, asked = front.callers + CHAT, body(stream=True)
    with httpx.stream("POST", url, json=asked, headers=target.headers, timeout=60) as answer:
        assert answer.status_code == 200
        for part in answer.iter_text():
            text += part
            moments.append(time.monotonic())
    return text, moments


@contextlib.contextmanager
def counting(answer: bytes | None) -> Iterator[tuple[int, list[bytes]]]:
    """A server that keeps what it is sent, and answers it or hangs up; yield its port and all."""
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    got = b""
                    while b"\r\n\r\n" not in got and (more := connection.recv(65536)):
                        got += more
                    seen.append(got)
                    if answer is not None:
                        connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_a_stream_passes_as_it_is_made(front: Proxy, gateways: Target):
    text, moments = stream(front, gateways)
    assert text.rstrip().endswith("data: [DONE]")
    # Held back, all of it would come at once.
    assert len(moments) > 20
    assert moments[-1] - moments[0] > 0.5


def test_callers_reach_the_api_of_models_and_nothing_else(front: Proxy, gateways: Target):
    listed = httpx.get(f"{front.callers}/v1/models", headers=gateways.headers)
    assert listed.status_code == 200
    for path in (
        "/admin/v1/people",
        "/admin/v1/docs",
        "/metrics",
        "/readyz",
        "/healthz",
        "/login",
        "/",
    ):
        answer = httpx.get(front.callers + path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["code"] == "not_found"
    # A path that is another one once it is made simple stays on its side.
    raw = httpx.get(f"{front.callers}/v1/%2e%2e/metrics")
    assert raw.status_code == 404
    assert "airlock_" not in raw.text


def test_people_reach_the_admin_api_and_no_figures(front: Proxy):
    assert httpx.get(f"{front.people}/admin/v1/people").status_code == 401
    assert httpx.get(f"{front.people}/readyz").json()["status"] in ("ready", "not ready")
    assert httpx.get(f"{front.people}/visas/jwks.json").json()["keys"]
    # The pages that mails lead to are the gateway's, which says itself that there is none.
    for page in ("confirm-address", "institution-mail"):
        answer = httpx.get(f"{front.people}/{page}/nothing")
        assert "x-request-id" in answer.headers, answer.text
    # An import of people is longer than any other request to the admin API.
    answer = httpx.post(f"{front.people}/admin/v1/people-import", content=b" " * 3_000_000)
    assert answer.status_code == 401
    for path in ("/metrics", "/v1/models"):
        assert httpx.get(front.people + path).status_code == 404


@pytest.mark.parametrize("length", [1_500_000, 3_000_000])
def test_what_is_too_long_is_said_in_the_apis_shape(front: Proxy, gateways: Target, length: int):
    answer = httpx.post(front.callers + CHAT, content=b" " * length, headers=gateways.headers)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_the_proxy_takes_bodies_as_long_as_the_gateway_does():
    text = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
    settings = Settings()
    for path, most in (
        ("= /v1/files", settings.file_max_bytes),
        ("= /admin/v1/people-import", LONGER["/admin/v1/people-import"]),
        (None, settings.max_body_bytes),
    ):
        place = text if path is None else text.split(f"location {path} {{")[1].split("}")[0]
        (size,) = re.findall(r"client_max_body_size (\d+)m;", place)[:1]
        assert int(size) * 2**20 > most, path


def test_every_fault_of_the_proxy_is_one_of_the_apis():
    text = (ROOT / "deploy" / "nginx" / "faults.conf").read_text()
    known = {(row.status, row.type, row.code) for row in HTTP_ERRORS.values()}
    found = re.findall(r"return (\d+) '(.*)';", text)
    assert len(found) == 5
    for status, said in found:
        fault = json.loads(said)["error"]
        assert fault.keys() == {"message", "type", "param", "code"}
        assert (int(status), fault["type"], fault["code"]) in known


def test_a_request_that_was_sent_is_not_sent_again(tmp_path: Path):
    with counting(None) as (one, first), counting(None) as (other, second):
        with proxy(tmp_path / "nginx", (one, other)) as front:
            for _ in range(4):
                answer = httpx.post(front.callers + CHAT, json=body())
                assert answer.status_code == 503
                assert answer.json()["error"]["code"] == HTTP_ERRORS[NotReadyError].code
                assert answer.headers["retry-after"] == "1"
        assert len([*first, *second]) == 4


def test_a_request_that_nobody_got_goes_to_the_other(tmp_path: Path):
    said = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
    with counting(said) as (up, seen), proxy(tmp_path / "nginx", (free_port(), up)) as front:
        for _ in range(6):
            answer = httpx.post(
                front.callers + CHAT, json={}, headers={"x-forwarded-for": "1.2.3.4"}
            )
            assert answer.text == "ok"
        assert len(seen) == 6
    # Who calls is who is connected.
    assert all(b"X-Forwarded-For: 127.0.0.1\r\n" in each for each in seen)
    assert b"1.2.3.4" not in b"".join(seen)


def test_nothing_of_what_was_said_is_logged(front: Proxy, gateways: Target):
    secret = "Tell-me-a-secret"
    content = [{"role": "user", "content": secret}]
    httpx.post(
        f"{front.callers}{CHAT}?q={secret}", json=body(messages=content), headers=gateways.headers
    )
    time.sleep(0.1)
    log = (front.directory / "run" / "access.log").read_text()
    assert CHAT in log
    assert secret not in log
    assert gateways.headers["authorization"].removeprefix("Bearer ") not in log
    assert all(json.loads(line)["method"] for line in log.splitlines())


def test_the_example_with_tls_answers(tmp_path: Path):
    directory = tmp_path / "nginx"
    written(directory, (1, 2))
    port = free_port()
    text = (directory / "tls.conf.example").read_text()
    for old, new in (
        ("/etc/nginx/", f"{directory}/"),
        ("listen 8443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("http2 on;", ""),  # Younger than some nginx.
    ):
        assert old in text
        text = text.replace(old, new)
    tls = directory / "tls"
    tls.mkdir()
    (tls / "tls.conf").write_text(text)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=localhost", "-days", "2"),
            *("-keyout", tls / "privkey.pem", "-out", tls / "fullchain.pem"),
        ],
        check=True,
        capture_output=True,
    )
    errors_log = str(directory / "run" / "error.log")
    command = [str(NGINX), "-c", str(directory / "nginx.conf"), "-e", errors_log]
    with subprocess.Popen([*command, "-g", "daemon off;"]) as process:
        trusted = ssl.create_default_context(cafile=tls / "fullchain.pem")
        trusted.check_hostname = False
        try:
            wait_for(lambda: process.poll() is not None or listens(port))
            answer = httpx.get(f"https://127.0.0.1:{port}/", verify=trusted)
        finally:
            process.terminate()
    assert answer.json()["error"]["code"] == "not_found"
    assert answer.status_code == 404
    assert "max-age" in answer.headers["strict-transport-security"]


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.timed
def test_replacing_a_gateway_under_load_loses_nothing(front: Proxy, gateways: Target):
    """Last in this file: one of the gateways is gone afterwards."""
    streams: list[str] = []
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answer = httpx.post(front.callers + CHAT, json=body(), headers=gateways.headers)
            statuses.append(answer.status_code)

    def listen() -> None:
        streams.append(stream(front, gateways)[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    threads += [threading.Thread(target=listen) for _ in range(12)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(statuses) > 20)
    front.drain(NAMES[0])
    pause()
    # The streams were begun on both gateways, and those on this one are not over.
    os.kill(gateways.pid, signal.SIGTERM)
    wait_for(lambda: ended(gateways.pid), 20)
    begun = len(statuses)
    wait_for(lambda: len(statuses) > begun + 20)
    front.drain()
    pause()
    begun = len(statuses)
    wait_for(lambda: len(statuses) > begun + 20)
    over.set()
    for thread in threads:
        thread.join(30)
    assert len(streams) == 12
    assert all(text.rstrip().endswith("data: [DONE]") for text in streams)
    assert set(statuses) == {200}


def test_roll_replaces_one_after_the_other(tmp_path: Path):
    log, docker = tmp_path / "log", tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$*" >> {log}\n')
    docker.chmod(0o755)
    shutil.copytree(ROOT / "deploy" / "nginx", tmp_path / "deploy" / "nginx")
    script = shutil.copy(ROOT / "deploy" / "roll.sh", tmp_path / "deploy" / "roll.sh")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ROLL_PAUSE": "0"}
    subprocess.run([script], env=environment, check=True, capture_output=True)
    steps = [line.split()[1:] for line in log.read_text().splitlines()]
    wanted = []
    for name in ("gateway", "gateway-2"):
        wanted += [f"drain.sh {name}", f"--wait {name}", f"{name} python", "/etc/nginx/drain.sh"]
    assert len(steps) == len(wanted)
    for step, part in zip(steps, wanted, strict=True):
        assert part in " ".join(step)


def test_roll_stops_at_a_gateway_that_is_not_ready(tmp_path: Path):
    log, docker = tmp_path / "log", tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$*" >> {log}\ncase "$*" in *python*) exit 1;; esac\n')
    docker.chmod(0o755)
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy" / "roll.sh", tmp_path / "deploy" / "roll.sh")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ROLL_PAUSE": "0"}
    done = subprocess.run([script], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "gateway is not ready" in done.stderr
    assert "gateway-2" not in log.read_text()
