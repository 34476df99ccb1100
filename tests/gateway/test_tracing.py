"""Traces as a collector gets them: two spans, the caller's trace, no word of what was said."""

import subprocess
import sys
from dataclasses import dataclass, field

import anyio
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.errors import ConfigurationError
from gateway.settings import Settings
from gateway.tracing import Tracing, make_tracing
from tests.gateway.conftest import Running, make_settings, run_gateway
from tests.servers import free_port, serving

CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
"""A caller's trace, which it does not sample itself."""


@dataclass
class Collector:
    """An ASGI application that takes traces by OTLP."""

    raw: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    async def __call__(self, scope, receive, send):
        assert scope["path"] == "/v1/traces"
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scoped in resource.scope_spans:
                self.spans += scoped.spans
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def ask(running: Running, who: str, traceparent: str, **extra) -> httpx.Response:
    message = {"role": "user", "content": "What is the capital of France?"}
    body = {"model": "smollm2", "messages": [message], **extra}
    return running.post(who, body, headers={"traceparent": traceparent.encode()})


@dataclass
class Seen:
    """What the collector got of a gateway's whole life, and what its engine did."""

    collector: Collector
    running: Running
    answers: dict[str, httpx.Response]

    def trace(self, name: str) -> tuple[Span, Span | None]:
        """The server's span of a request, and the client's below it."""
        request_id = self.answers[name].headers["x-request-id"]
        (server,) = (s for s in self.collector.spans if attributes(s).get(ID) == request_id)
        below = [s for s in self.collector.spans if s.parent_span_id == server.span_id]
        assert len(below) <= 1
        return server, below[0] if below else None


ID = "airlock.request_id"


def attributes(span: Span) -> dict:
    """A span's attributes as a dictionary."""
    found = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        found[one.key] = getattr(one.value, kind)
    return found


@pytest.fixture(scope="module")
def seen(request, tmp_path_factory) -> Seen:
    """Everything that a gateway traced from its start to its end."""
    settings = make_settings(request, tmp_path_factory.mktemp("traced"), "sqlite")
    collector = Collector()
    with serving(collector, lifespan="off") as url:
        given = {"traces_url": f"{url}/v1/traces", "traces_share": 1.0}
        with run_gateway(settings, **given) as running:
            answers = {
                "stream": ask(running, "public", CALLERS, stream=True, user="CANARY-USER"),
                "whole": running.chat("researcher"),
                "refused": running.chat("public", model="smollm2:base"),
                "nobody": running.chat("airlock_key_CANARY"),
                "odd": ask(running, "public", "00-zz-é-01"),
            }
            httpx.get(f"{running.url}/v1/models")
    return Seen(collector, running, answers)


def test_a_trace_hangs_from_the_callers_and_reaches_the_engine(seen: Seen):
    server, client = seen.trace("stream")
    _, trace_id, parent_id, _ = CALLERS.split("-")
    assert server.trace_id.hex() == trace_id
    assert server.parent_span_id.hex() == parent_id
    assert server.kind == Span.SPAN_KIND_SERVER
    assert client is not None
    assert client.kind == Span.SPAN_KIND_CLIENT
    given = [one["traceparent"] for one in seen.running.engines["unlearned"].headers]
    assert given[0] == f"00-{trace_id}-{client.span_id.hex()}-01"


def test_names_are_those_of_the_conventions(seen: Seen):
    server, client = seen.trace("stream")
    assert client is not None
    assert server.name == "POST /v1/chat/completions"
    assert client.name == "chat smollm2:unlearned"
    assert {name: value for name, value in attributes(server).items() if name != ID} == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
    }
    said = attributes(client)
    assert 0 < said.pop("gen_ai.response.time_to_first_chunk") < 30
    assert said == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "smollm2:unlearned",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": seen.running.engines["unlearned"].digest,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
        "airlock.tier": "public",
    }
    assert server.start_time_unix_nano <= client.start_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano


def test_each_request_has_a_trace_and_lists_have_none(seen: Seen):
    assert len({span.trace_id for span in seen.collector.spans}) == len(seen.answers)
    for name in seen.answers:
        server, client = seen.trace(name)
        assert (client is None) == (name in ("refused", "nobody"))
        assert server.trace_id != bytes(16)


@pytest.mark.parametrize(
    ("name", "error", "status"),
    [("refused", "GrantRequiredError", 403), ("nobody", "InvalidKeyError", 401)],
)
def test_a_failure_says_which(seen: Seen, name, error, status):
    server, _ = seen.trace(name)
    assert server.status.code == Status.STATUS_CODE_ERROR
    assert attributes(server)["error.type"] == error
    assert attributes(server)["http.response.status_code"] == status


def test_nothing_that_was_said_and_no_secret_is_sent(seen: Seen):
    sent = b"".join(seen.collector.raw)
    secrets = [*seen.running.keys.values(), seen.running.admin_key, "engine-key", "CANARY"]
    said = ["capital of France", "Paris", "the, the"]
    assert [one for one in secrets + said if one.encode() in sent] == []


def test_a_collector_that_is_down_costs_nothing(request, tmp_path):
    settings = make_settings(request, tmp_path, "sqlite")
    dead = f"http://127.0.0.1:{free_port()}/v1/traces"
    with run_gateway(settings, traces_url=dead, traces_share=1.0) as running:
        assert ask(running, "public", CALLERS).status_code == 200


def test_a_caller_cannot_have_itself_sampled():
    tracing = Tracing(InMemorySpanExporter(), share=0.0)
    headers = [(b"traceparent", f"{CALLERS[:-2]}01".encode())]
    assert tracing.begin("/v1/chat/completions", headers, "req_1") is None
    anyio.run(tracing.close)


def test_off_it_is_not_even_imported():
    code = (
        "import sys; from gateway.app import create_app; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert make_tracing(Settings()) is None


def test_where_it_is_not_installed_the_gateway_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match="requirements/tracing"):
        make_tracing(Settings(traces_url="http://collector:4318/v1/traces"))
