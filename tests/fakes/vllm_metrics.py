"""What vLLM says of itself, by its exact names; `tests/e2e` compares them with the real one's."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LABELS = ("model_name", "engine")
GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
COUNTERS = (
    "prompt_tokens",
    "generation_tokens",
    "prefix_cache_queries",
    "prefix_cache_hits",
    "num_preemptions",
)
HISTOGRAMS = (
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
)


class VllmMetrics:
    """One engine's metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        given = {"labelnames": LABELS, "registry": self.registry}
        values = ("smollm2:label", "0")
        self.gauges = {
            name: Gauge(f"vllm:{name}", "As vLLM.", **given).labels(*values) for name in GAUGES
        }
        self.counters = {
            name: Counter(f"vllm:{name}", "As vLLM.", **given).labels(*values) for name in COUNTERS
        }
        self.histograms = {
            name: Histogram(f"vllm:{name}", "As vLLM.", **given).labels(*values)
            for name in HISTOGRAMS
        }
        self.success = Counter(
            "vllm:request_success",
            "As vLLM.",
            (*LABELS, "finished_reason"),
            registry=self.registry,
        ).labels(*values, "stop")

    def count(self, prompt_tokens: int, tokens: int) -> None:
        """Count an answered request."""
        self.success.inc()
        self.gauges["kv_cache_usage_perc"].set(0.25)
        amounts = (prompt_tokens, tokens, prompt_tokens, prompt_tokens // 2, 0)
        for counter, amount in zip(self.counters.values(), amounts, strict=True):
            counter.inc(amount)
        for name, histogram in self.histograms.items():
            histogram.observe(tokens if name.endswith("tokens") else 0.02)

    def render(self) -> bytes:
        return generate_latest(self.registry)
