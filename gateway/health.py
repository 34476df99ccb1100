"""Metrics of the gateway's own condition: its event loop, its snapshot, its way to the audit log.

What requests do is counted in `metrics`, what there is in `inventory`.
"""

from prometheus_client import CollectorRegistry, Gauge, Histogram

LAG_SECONDS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2, 5, 10, 60)
LOOP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Health:
    """How the gateway itself is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare the metrics in a registry."""
        self.snapshot_lag_seconds = Histogram(
            "airlock_snapshot_lag_seconds",
            "How old the snapshot had become each time it was known to be current again: what a "
            "revocation takes at most.",
            buckets=LAG_SECONDS,
            registry=registry,
        )
        self.loop_lag_seconds = Histogram(
            "airlock_event_loop_lag_seconds",
            "How late the event loop was, five times a second.",
            buckets=LOOP_SECONDS,
            registry=registry,
        )
        self.audit_waiting = Gauge(
            "airlock_audit_waiting_entries",
            "Audit entries that are not in the log yet.",
            registry=registry,
        )
        self.audit_waiting_seconds = Gauge(
            "airlock_audit_oldest_waiting_seconds",
            "How long the oldest of them has waited.",
            registry=registry,
        )
        self.audit_entries = Gauge(
            "airlock_audit_entries",
            "Entries in the audit log when it was last signed.",
            registry=registry,
        )
        self.audit_signed = Gauge(
            "airlock_audit_signed_timestamp_seconds",
            "When its state was last signed, and cosigned where there is a witness.",
            registry=registry,
        )
