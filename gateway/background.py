"""Metrics of what is done beside requests: keeping contents, batches, notices."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Background:
    """What is done beside requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare the metrics in a registry."""
        self.contents_kept = Counter(
            "airlock_contents_kept",
            "Requests and answers that were sealed and written.",
            registry=registry,
        )
        self.contents_refused = Counter(
            "airlock_contents_refused",
            "Base requests refused because their contents could not be kept.",
            registry=registry,
        )
        self.contents_held = Gauge(
            "airlock_contents_held_bytes",
            "Contents in memory that wait to be sealed and written, or for their answer's end.",
            registry=registry,
        )
        self.batch_lines = Counter(
            "airlock_batch_lines",
            "Requests of batches that were made.",
            ("outcome",),
            registry=registry,
        )
        self.batches_ended = Counter(
            "airlock_batches_ended", "Batches that have ended.", ("status",), registry=registry
        )
        self.batches_running = Gauge(
            "airlock_batches_running", "Batches that are worked on.", registry=registry
        )
        self.notices = Counter(
            "airlock_notices",
            "Attempts to send a mail or webhook, by how they ended.",
            ("channel", "outcome"),
            registry=registry,
        )
        self.notices_waiting = Gauge(
            "airlock_notices_waiting", "Notices that are to be sent.", registry=registry
        )
        self.notices_dead = Gauge(
            "airlock_notices_dead",
            "Notices that were given up, and can be sent again by hand.",
            registry=registry,
        )
