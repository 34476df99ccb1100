"""The gateway's metrics: one prefix, base units, labels whose values configuration bounds."""

import time

from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from gateway.background import Background
from gateway.health import Health
from gateway.inventory import Inventory
from gateway.plain_metrics import Count, PlainCounter, PlainHistogram

OTHER = "other"
"""Stands for a model name that is not served, so that callers cannot make new series."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1)
WAIT_SECONDS = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """Every metric, in a registry of its own; `docs/api.md` lists them."""

    def __init__(self, version: str) -> None:
        """Make the metrics of one gateway process."""
        # When a counter began would be a second series for each.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        labels = ("alias", "tier", "outcome")
        self.requests = PlainCounter(
            "airlock_requests", "Requests to the data plane.", labels, registry=self.registry
        )
        self.request_seconds = PlainHistogram(
            "airlock_request_duration_seconds",
            "From a request's first byte to the last byte of its answer.",
            labels,
            buckets=SECONDS,
            registry=self.registry,
        )
        self.first_token_seconds = PlainHistogram(
            "airlock_time_to_first_token_seconds",
            "From a request's first byte to the first byte of its answer's body.",
            labels,
            buckets=SECONDS,
            registry=self.registry,
        )
        self.overhead_seconds = PlainHistogram(
            "airlock_overhead_seconds",
            "From a request's first byte to its being ready for an engine: the gateway's own part.",
            ("alias", "tier"),
            buckets=OVERHEAD_SECONDS,
            registry=self.registry,
        )
        self.queue_seconds = PlainHistogram(
            "airlock_queue_seconds",
            "From a request's being ready to an engine's having room for it.",
            ("alias", "tier"),
            buckets=WAIT_SECONDS,
            registry=self.registry,
        )
        self.upstream_seconds = PlainHistogram(
            "airlock_upstream_seconds",
            "From the request that the engine gets to the end of the answer.",
            ("alias", "tier"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.inter_token_seconds = PlainHistogram(
            "airlock_inter_token_seconds",
            "Of each stream, the mean time between two of its tokens.",
            ("alias", "tier"),
            buckets=TOKEN_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "airlock_in_flight_requests", "Requests being answered.", registry=self.registry
        )
        self.tokens = PlainCounter(
            "airlock_tokens",
            "Tokens that engines counted.",
            ("alias", "tier", "type"),
            registry=self.registry,
        )
        self.routed = PlainCounter(
            "airlock_routed",
            "Requests that were given a checkpoint.",
            ("tier", "requested_model", "served_checkpoint"),
            registry=self.registry,
        )
        self.tier_violations = Counter(
            "airlock_tier_violation",
            "Requests stopped because a checkpoint beyond the caller's grants was about to answer. "
            "Must stay 0.",
            registry=self.registry,
        )
        self.auth_failures = Counter(
            "airlock_auth_failures", "Refused keys and tokens.", ("reason",), registry=self.registry
        )
        self.rate_limited = Counter(
            "airlock_rate_limited",
            "Requests turned away by a limit.",
            ("kind",),
            registry=self.registry,
        )
        self.address_refusals = Counter(
            "airlock_address_refusals",
            "Uses of keys from addresses that they are not bound to.",
            registry=self.registry,
        )
        self.provider_faults = Counter(
            "airlock_identity_provider_faults",
            "Questions that an identity provider did not answer properly.",
            ("issuer", "question"),
            registry=self.registry,
        )
        self.streams_cut = Counter(
            "airlock_streams_cut",
            "Running answers ended because their grant or key did.",
            registry=self.registry,
        )
        self.disconnects = Counter(
            "airlock_client_disconnects",
            "Callers that left before their answer's end.",
            registry=self.registry,
        )
        self.capability_uses = Counter(
            "airlock_capability_uses",
            "Requests that used what a tier allows beyond a plain answer.",
            ("tier", "capability"),
            registry=self.registry,
        )
        self.engine_up = Gauge(
            "airlock_engine_up",
            "Whether an engine answers, and serves and attests the expected checkpoint.",
            ("url", "checkpoint"),
            registry=self.registry,
        )
        self.breaker_open = Gauge(
            "airlock_breaker_open",
            "Whether an engine's circuit breaker lets no requests through.",
            ("url", "checkpoint"),
            registry=self.registry,
        )
        self.engine_errors = Counter(
            "airlock_engine_errors",
            "Requests that an engine did not answer properly.",
            ("url", "checkpoint", "kind"),
            registry=self.registry,
        )
        self.retries = Counter(
            "airlock_retries",
            "Requests sent to another engine because one had not begun to work on them.",
            registry=self.registry,
        )
        self.limits_degraded = Gauge(
            "airlock_limits_degraded",
            "Whether a worker admits only its share of limits, because Redis does not answer.",
            registry=self.registry,
        )
        self.queued = Gauge(
            "airlock_queued_requests",
            "Requests that wait for an engine to have room.",
            registry=self.registry,
        )
        self.held_back = Gauge(
            "airlock_held_back_requests",
            "Requests held back because an engine died while it answered them.",
            registry=self.registry,
        )
        self.engine_drift = Counter(
            "airlock_engine_drift",
            "Engines taken out because they no longer say what they said when they were judged.",
            ("url", "checkpoint"),
            registry=self.registry,
        )
        self.snapshot_age = Gauge(
            "airlock_snapshot_age_seconds",
            "Since keys, grants and promotions were last known to be current.",
            registry=self.registry,
        )
        self.audit_append_seconds = Histogram(
            "airlock_audit_append_seconds",
            "From an audit entry's arrival to its being durable in the log.",
            buckets=OVERHEAD_SECONDS,
            registry=self.registry,
        )
        self.audit_failures = Counter(
            "airlock_audit_failures",
            "Groups of audit entries that could not be written; base requests were refused.",
            registry=self.registry,
        )
        self.audit_witness_failures = Counter(
            "airlock_audit_witness_failures",
            "Checkpoints of the audit log that could not be signed, or that the witness refused.",
            registry=self.registry,
        )
        self.background = Background(self.registry)
        self.health = Health(self.registry)
        self.inventory = Inventory(self.registry)
        ProcessCollector(registry=self.registry)
        self._settled: dict[tuple[str, str, str], _Series] = {}
        self._routed: dict[tuple[str, str, str], Count] = {}
        self.build = Info("airlock_build", "The gateway's version.", registry=self.registry)
        self.build.info({"version": version})

    def settle(self, settled: "Settled") -> None:
        """Count one request that has ended."""
        labels = (settled.alias, settled.tier, settled.outcome)
        series = self._settled.get(labels)
        if series is None:
            series = self._settled[labels] = _Series(self, *labels)
        series.requests.inc()
        now = time.monotonic()
        series.request_seconds.observe(now - settled.started_at)
        if settled.ready_at is not None:
            series.overhead_seconds.observe(settled.ready_at - settled.started_at)
            series.queue_seconds.observe((settled.asked_at or now) - settled.ready_at)
        if settled.asked_at is not None:
            series.upstream_seconds.observe(now - settled.asked_at)
        if settled.first_byte_at is not None:
            series.first_token_seconds.observe(settled.first_byte_at - settled.started_at)
            if settled.is_stream and settled.completion_tokens > 1:
                between = (now - settled.first_byte_at) / (settled.completion_tokens - 1)
                series.inter_token_seconds.observe(between)
        if settled.prompt_tokens:
            series.prompt_tokens.inc(settled.prompt_tokens)
        if settled.completion_tokens:
            series.completion_tokens.inc(settled.completion_tokens)

    def count_routed(self, tier: str, requested: str, checkpoint: str) -> None:
        """Count one request that was given a checkpoint."""
        labels = (tier, requested, checkpoint)
        series = self._routed.get(labels)
        if series is None:
            series = self._routed[labels] = self.routed.labels(*labels)
        series.inc()

    def render(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class Settled(Struct, frozen=True, eq=False):
    """What is counted of one request; moments are on the monotonic clock."""

    alias: str
    tier: str
    outcome: str
    started_at: float
    ready_at: float | None
    asked_at: float | None
    first_byte_at: float | None
    is_stream: bool
    prompt_tokens: int
    completion_tokens: int


class _Series:
    """The series of one set of labels, looked up once: a lookup costs more than the count."""

    def __init__(self, metrics: Metrics, alias: str, tier: str, outcome: str) -> None:
        labels = (alias, tier, outcome)
        self.requests = metrics.requests.labels(*labels)
        self.request_seconds = metrics.request_seconds.labels(*labels)
        self.first_token_seconds = metrics.first_token_seconds.labels(*labels)
        self.overhead_seconds = metrics.overhead_seconds.labels(alias, tier)
        self.queue_seconds = metrics.queue_seconds.labels(alias, tier)
        self.upstream_seconds = metrics.upstream_seconds.labels(alias, tier)
        self.inter_token_seconds = metrics.inter_token_seconds.labels(alias, tier)
        self.prompt_tokens = metrics.tokens.labels(alias, tier, "prompt")
        self.completion_tokens = metrics.tokens.labels(alias, tier, "completion")
