"""The gateway's metrics: one prefix, base units, labels whose values configuration bounds."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

OTHER = "other"
"""Stands for a model name that is not served, so that callers cannot make new series."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1)


class Metrics:
    """Every metric, in a registry of its own; `docs/api.md` lists them."""

    def __init__(self, version: str) -> None:
        """Make the metrics of one gateway process."""
        self.registry = CollectorRegistry()
        labels = ("alias", "tier", "outcome")
        self.requests = Counter(
            "airlock_requests", "Requests to the data plane.", labels, registry=self.registry
        )
        self.request_seconds = Histogram(
            "airlock_request_duration_seconds",
            "From a request's first byte to the last byte of its answer.",
            labels,
            buckets=SECONDS,
            registry=self.registry,
        )
        self.first_token_seconds = Histogram(
            "airlock_time_to_first_token_seconds",
            "From a request's first byte to the first byte of its answer's body.",
            labels,
            buckets=SECONDS,
            registry=self.registry,
        )
        self.overhead_seconds = Histogram(
            "airlock_overhead_seconds",
            "From a request's first byte to the request that the engine gets.",
            ("alias", "tier"),
            buckets=OVERHEAD_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "airlock_in_flight_requests", "Requests being answered.", registry=self.registry
        )
        self.tokens = Counter(
            "airlock_tokens",
            "Tokens that engines counted.",
            ("alias", "tier", "type"),
            registry=self.registry,
        )
        self.routed = Counter(
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
            "airlock_auth_failures", "Refused keys.", ("reason",), registry=self.registry
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
        self.engine_up = Gauge(
            "airlock_engine_up",
            "Whether an engine answers, and serves and attests the expected checkpoint.",
            ("url", "checkpoint"),
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
        self.build = Info("airlock_build", "The gateway's version.", registry=self.registry)
        self.build.info({"version": version})

    def render(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self.registry)
