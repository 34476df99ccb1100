"""Traces: where a request's time went, sent by OTLP to a collector. Off unless a URL is set.

Two spans for each request that is sampled: the server's, and below it the client's to the engine,
which gets its `traceparent` and covers every attempt. Names are those of OpenTelemetry's
conventions for generative AI; nothing that was said is in them. Who is sampled is for the operator
alone to say: a caller's `traceparent` says what a trace hangs from, not whether it is made.

OpenTelemetry is imported here and only here, when tracing is on (`requirements/tracing.txt`).
"""

import random
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from gateway.errors import ConfigurationError
from gateway.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

OPERATIONS = {
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
"""By the endpoint's path; any other is a chat."""
TIMEOUT_SECONDS = 2
"""For sending a batch, tries included; a gateway that stops waits no longer for its collector."""
Headers = Iterable[tuple[bytes, bytes]]


class Trace:
    """One request that is traced."""

    def __init__(self, tracer: "Tracer", server: "Span", path: str) -> None:
        """Begin with the server's span."""
        self._tracer = tracer
        self._server = server
        self._client: Span | None = None
        self._path = path

    @property
    def trace_id(self) -> str:
        """In hexadecimal, as logs have it."""
        return f"{self._server.get_span_context().trace_id:032x}"

    def ask(self, alias: str, *, is_stream: bool) -> str:
        """Begin the span of the engine's work; return the `traceparent` that it gets.

        Args:
            alias: Which answers.
            is_stream: Whether as it comes.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        operation = OPERATIONS.get(self._path, "chat")
        self._client = self._tracer.start_span(
            f"{operation} {alias}",
            context=set_span_in_context(self._server),
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "vllm",
                "gen_ai.request.model": alias,
                "gen_ai.request.stream": is_stream,
            },
        )
        context = self._client.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    def end(self, outcome: str, status: int | None, attributes: dict[str, Any]) -> None:
        """End both spans.

        Args:
            outcome: `ok`, `client_gone` or the error's name.
            status: What the caller was sent, if anything.
            attributes: Of the engine's span: tokens, checkpoint, time to the first chunk.
        """
        from opentelemetry.trace import StatusCode

        spans = [self._server] if self._client is None else [self._client, self._server]
        if self._client is not None:
            self._client.set_attributes(attributes)
        if status is not None:
            self._server.set_attribute("http.response.status_code", status)
        for span in spans:
            if outcome != "ok":
                span.set_attribute("error.type", outcome)
                span.set_status(StatusCode.ERROR)
            span.end()


class Tracing:
    """Decides who is traced, and sends what was."""

    def __init__(self, exporter: "SpanExporter", share: float) -> None:
        """Send by `exporter`, from a thread of its own, that share of requests."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create(
            {"service.name": "airlock", "service.version": version("airlock")}
        )
        self._provider: TracerProvider = TracerProvider(sampler=ALWAYS_ON, resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("airlock")
        self._propagator = TraceContextTextMapPropagator()
        self._share = share

    def begin(self, path: str, headers: Headers, request_id: str) -> Trace | None:
        """Return a request's trace, or None where it is not sampled.

        Args:
            path: Of the endpoint.
            headers: The caller's.
            request_id: Ours.
        """
        if random.random() >= self._share:  # noqa: S311 - a choice of samples needs no secrecy
            return None
        from opentelemetry.trace import SpanKind

        given = next((value for name, value in headers if name == b"traceparent"), b"")
        # What is no traceparent makes a new trace.
        parent = self._propagator.extract({"traceparent": given.decode("latin-1")})
        server = self._tracer.start_span(
            f"POST {path}",
            context=parent,
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": "POST",
                "http.route": path,
                "airlock.request_id": request_id,
            },
        )
        return Trace(self._tracer, server, path)

    async def close(self) -> None:
        """Send what is left, and stop."""
        await anyio.to_thread.run_sync(self._provider.shutdown)


def make_tracing(settings: Settings) -> Tracing | None:
    """Return what traces requests, or None where it is off.

    Raises:
        ConfigurationError: It is on, and OpenTelemetry is not installed.
    """
    if settings.traces_url is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigurationError(
            "AIRLOCK_TRACES_URL is set and OpenTelemetry is not installed: install "
            "requirements/tracing.txt"
        ) from error
    exporter = OTLPSpanExporter(endpoint=settings.traces_url, timeout=TIMEOUT_SECONDS)
    return Tracing(exporter, settings.traces_share)
