"""Every endpoint, fault and tier: the same tier's checkpoint or an error, and never a hang."""

import time
from itertools import product

import httpx
import pytest

from gateway.dataplane.endpoints import ENDPOINTS
from tests.fakes.mortal import MortalEngine, whole
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.dataplane.batches.driving import code_of, create, ended, line, results
from tests.gateway.dataplane.test_doors import ENDS, PATHS, body, error_code
from tests.gateway.silence import end_silence, silence
from tests.servers import wait_for

LABELS = {"researcher": "base", "public": "unlearned"}
TEXTS = {"base": "Paris", "unlearned": "the, the"}


def setting(**values):
    """A fault that is a state of the engine."""

    def harm(_, engine):
        for name, value in values.items():
            setattr(engine, name, value)

    return harm


def events(*lines: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in lines)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def silence_database(running, _):
    silence(running.gateway)
    time.sleep(0.3)


def age_snapshot(running, _):
    silence_database(running, None)
    running.gateway.keeper._current_at -= 5.0


def reset_idle_connections(_, engine):
    engine.drop_idle_connections()


FAULTS = {
    "down": lambda _, engine: engine.die(),
    "idle connections reset": reset_idle_connections,
    "dies before the first byte": setting(dies_at=0),
    "dies in the middle": setting(dies_at=2),
    "cuts the stream": setting(cuts_at=2),
    "stalls": setting(delay_seconds=30.0),
    "500": setting(status="500 Internal Server Error"),
    "503": setting(status="503 Service Unavailable"),
    "404": setting(status="404 Not Found"),
    "401": setting(status="401 Unauthorized"),
    "redirects": setting(raw=b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
    "garbage": setting(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes"),
    "nested without end": setting(raw=whole(b'{"choices":' + b"[" * 60_000)),
    "no HTTP": setting(raw=b"\x00\x01\x02\r\n\r\n"),
    "a broken event": setting(raw=events(b'data: {"choi\n\n', b"data: [DONE]\n\n")),
    "an unfinished event": setting(raw=events(b'data: {"choices":[{}]}')),
    "the database is silent": silence_database,
    "the snapshot is old": age_snapshot,
}


@pytest.fixture(scope="module")
def gateway(request, tmp_path_factory):
    """A gateway with one engine for each door, both of which can die."""
    engines = {label: MortalEngine(text) for label, text in TEXTS.items()}
    settings = make_settings(request, tmp_path_factory.mktemp("faults"), "sqlite")
    replicas = {label: [engine] for label, engine in engines.items()}
    short = {"idle_timeout_seconds": 0.5, "breaker_failures": 1, "breaker_open_seconds": 0.1}
    short |= {"privileged_max_age_seconds": 1.0}
    with run_gateway(settings, replicas=replicas, hold_back_seconds=3.1, **short) as running:
        yield running, engines
    for engine in engines.values():
        engine.die()


@pytest.fixture
def healed(gateway):
    """Both doors work before and after each case."""
    running, engines = gateway
    is_ready = lambda: httpx.get(f"{running.url}/readyz").status_code == 200  # noqa: E731
    wait_for(is_ready)
    # What was asked of a silent database may end only now, and pools with it.
    wait_for(lambda: running.admin("GET", "/aliases").status_code == 200)
    for replica in running.gateway.pool._replicas.values():
        # As after a trial that went well; the faults before this one have made its breaker wait,
        # longer with each.
        replica.breaker.state = "half-open"
        replica.breaker.succeed()
    yield running, engines
    heal(running, engines)


def heal(running, engines) -> None:
    end_silence(running.gateway)
    for engine in engines.values():
        was_down = engine._listener.fileno() < 0
        engine.raw, engine.status, engine.delay_seconds = None, "200 OK", 0.0
        engine.dies_at = engine.cuts_at = -1
        if was_down:
            engine.come_back()


def test_every_endpoint_is_in_the_matrix():
    # What the others answer is no model's word: an embedding, or a count of the caller's own.
    others = {"/v1/embeddings", "/v1/messages/count_tokens"}
    assert set(PATHS) | others == set(ENDPOINTS)


@pytest.mark.parametrize(
    ("path", "stream", "fault", "who"),
    list(product(PATHS, (False, True), FAULTS, LABELS)),
)
def test_the_same_door_or_an_error(healed, path, stream, fault, who):
    running, engines = healed
    mine, other = LABELS[who], LABELS["public" if who == "researcher" else "researcher"]
    FAULTS[fault](running, engines[mine])
    before = len(engines[other].bodies)
    # Each case asks something of its own, so that none is held back for another.
    asked = body(path, stream=stream, temperature=(time.monotonic_ns() % 10**6) / 10**6)
    began = time.monotonic()
    answer = running.post(who, asked, path)
    if fault == "idle connections reset":
        # It costs a caller nothing. A busy machine may let the snapshot grow old meanwhile.
        while '"not_ready"' in answer.text and time.monotonic() - began < 4:
            answer = running.post(who, asked, path)
        assert answer.status_code == 200, answer.text
        assert TEXTS[mine] in answer.text
    assert time.monotonic() - began < 5
    assert len(engines[other].bodies) == before, "another door"
    assert TEXTS[other] not in answer.text
    if answer.status_code == 200:
        assert answer.headers["x-airlock-checkpoint"] == engines[mine].digest
        whole = any(end in answer.text for end in ENDS) or not stream
        assert whole or '"code":"' in answer.text
    else:
        assert error_code(answer)
        assert answer.status_code in (502, 503, 504)
    if fault in ("down", "stalls", "500", "503", "404", "401", "redirects", "no HTTP"):
        assert answer.status_code != 200 or (stream and fault == "stalls")


REFUSALS = ("500", "redirects", "stalls", "no HTTP")
ABSENCES = ("down", "503", "the database is silent", "the snapshot is old")


@pytest.mark.parametrize(("fault", "who"), list(product(FAULTS, LABELS)))
def test_a_batchs_line_gets_the_same_door_or_an_error(healed, fault, who):
    running, engines = healed
    mine, other = LABELS[who], LABELS["public" if who == "researcher" else "researcher"]
    before = len(engines[other].bodies)
    asked = time.monotonic_ns() % 10**6
    is_engines = FAULTS[fault] not in (silence_database, age_snapshot)
    if is_engines:
        FAULTS[fault](running, engines[mine])
    made = create(running, who, [line(asked, temperature=asked / 10**6)])
    if not is_engines:
        FAULTS[fault](running, engines[mine])
    if fault in REFUSALS:
        ended(running, who, made)
    else:
        time.sleep(0.2)
    heal(running, engines)
    batch = ended(running, who, made)
    assert len(engines[other].bodies) == before, "another door"
    output, errors = results(running, who, batch)
    assert len(output) + len(errors) == 1
    assert TEXTS[other] not in str(output) + str(errors)
    for row in errors.values():
        assert code_of(row) in ("engine_error", "engine_timeout")
    # What an engine may have begun is not made again; what none has, is, until it is answered.
    assert not (errors and fault in ABSENCES)
    assert errors or fault not in REFUSALS
