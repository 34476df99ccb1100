"""Metrics of what there is rather than of what happens: releases, gates, keys, grants and so on.

Two censuses fill them in from time to time, `dataplane.census` from memory, `controlplane.census`
from the database and the registry. Replicas count the same things, so queries take the `max` of
them. A label's values come from configuration, the registry's documents and closed sets.
"""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

HOUR, DAY = 3600, 86_400
DECISION_SECONDS = (HOUR, 4 * HOUR, 12 * HOUR, *(n * DAY for n in (1, 2, 3, 5, 7, 14, 30, 60)))
GAUGES = {
    "alias": ("alias_info", "Which checkpoint an alias points to.", ("alias", "checkpoint")),
    "alias_open": ("alias_open", "Whether an alias's newest release counts.", ("alias",)),
    "alias_engines": (
        "alias_engines",
        "Verified engines that serve an alias's checkpoint.",
        ("alias",),
    ),
    "release_expiry": (
        "release_expiry_timestamp_seconds",
        "When an alias's newest release ends by itself.",
        ("alias",),
    ),
    "attestation_age": (
        "attestation_age_seconds",
        "Since an engine last attested what it should.",
        ("url", "checkpoint"),
    ),
    "fingerprint_age": (
        "fingerprint_age_seconds",
        "Since an engine's fingerprint was last replayed.",
        ("url", "checkpoint"),
    ),
    "engine_in_flight": (
        "engine_in_flight_requests",
        "Requests that an engine is working on for this gateway.",
        ("url", "checkpoint"),
    ),
    "gate_passed": (
        "gate_passed",
        "Whether the verdict of an alias's release is PASS.",
        ("alias",),
    ),
    "gate_value": (
        "gate_rule_value",
        "What a rule of the gate has judged: mostly a confidence bound.",
        ("alias", "rule"),
    ),
    "gate_limit": ("gate_rule_limit", "That rule's limit.", ("alias", "rule")),
    "gate_accuracy": (
        "gate_accuracy",
        "Share of right answers in the report of an alias's release, with its 95 % interval.",
        ("alias", "subset", "of", "bound"),
    ),
    "trust_key_expiry": (
        "trust_key_expiry_timestamp_seconds",
        "When a key of the trust store ends.",
        ("key", "role"),
    ),
    "certificate_expiry": (
        "certificate_expiry_timestamp_seconds",
        "When the certificate ends that a TLS server shows.",
        ("host",),
    ),
    "secret_age": ("secret_age_seconds", "Since a secret's file was written.", ("secret",)),
    "api_key_age": ("api_key_age_seconds", "Age of the oldest key that counts.", ("kind",)),
    "backup": (
        "backup_timestamp_seconds",
        "Of which moment the newest backup is that was made, and that was verified.",
        ("of",),
    ),
    "people": ("people", "People, by their tier and state.", ("tier", "state")),
    "grants": ("grants", "Grants that nobody has revoked, by their state.", ("domain", "state")),
    "grants_ending": (
        "grants_ending",
        "Live grants that end within so many days.",
        ("domain", "days"),
    ),
    "doors_closed": (
        "doors_closed",
        "Doors that somebody has closed for everybody; `all` for every domain.",
        ("domain",),
    ),
    "applications": ("applications", "Applications, by their state.", ("state",)),
    "application_waiting": (
        "application_waiting_seconds",
        "How long the oldest application has been in a state in which somebody must act.",
        ("state",),
    ),
}
Labels = tuple[str, ...]


class Inventory:
    """Sets of series that are replaced as a whole, and what the audit log has gained."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare the metrics in a registry."""
        self.gauges = {
            name: Gauge(f"airlock_{metric}", text, labels, registry=registry)
            for name, (metric, text, labels) in GAUGES.items()
        }
        self.log_entries = Counter(
            "airlock_log_entries",
            "Entries that the audit log has gained, from any replica or command.",
            ("tag",),
            registry=registry,
        )
        self.decision_seconds = Histogram(
            "airlock_application_decision_seconds",
            "From an application's being submitted to its being approved, returned or rejected.",
            ("decision",),
            buckets=DECISION_SECONDS,
            registry=registry,
        )
        self.counted_at = Gauge(
            "airlock_census_timestamp_seconds",
            "When what there is was last counted.",
            ("of",),
            registry=registry,
        )

    def replace(self, name: str, values: Mapping[Labels, float]) -> None:
        """Set a gauge's series to these and no others."""
        gauge = self.gauges[name]
        gauge.clear()
        for labels, value in values.items():
            gauge.labels(*labels).set(value)

    def prepare(self, tags: Iterable[str], decisions: Iterable[str]) -> None:
        """Begin series at 0: the first event of one that begins at 1 is invisible to rates."""
        for tag in tags:
            self.log_entries.labels(tag)
        for decision in decisions:
            self.decision_seconds.labels(decision)
