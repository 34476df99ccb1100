"""The dashboard *Engines*: vLLM's own metrics, as the gateway hands them on.

Every gateway hands on the same engines, so their `max` is taken before anything is added up.
"""

from deploy.grafana.panels import RATE, Dashboard, Panel, Query, Row, Variable

WHERE = '{checkpoint=~"$checkpoint"}'


def rate(metric: str, *by: str) -> str:
    """Return a counter's rate for each engine, once."""
    labels = ", ".join(("url", "checkpoint", *by))
    return f"max by ({labels}) (rate({metric}{WHERE}{RATE}))"


def gauge(metric: str) -> Query:
    """Return a gauge for each engine, once."""
    return Query(f"max by (url, checkpoint) ({metric}{WHERE})", "{{url}}")


def spread(metric: str) -> tuple[Query, ...]:
    """Return quantiles of a histogram over the engines of each checkpoint."""
    buckets = f"sum by (le, checkpoint) ({rate(f'{metric}_bucket', 'le')})"
    return tuple(
        Query(f"histogram_quantile({share}, {buckets})", f"{{{{checkpoint}}}} {name}")
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )


LOAD = Row(
    "Load",
    (
        Panel(
            "Running",
            "Requests in the batch of each engine.",
            "short",
            (gauge("vllm:num_requests_running"),),
        ),
        Panel(
            "Waiting",
            "Requests that wait inside of each engine: the gateway's queue should hold them.",
            "short",
            (gauge("vllm:num_requests_waiting"),),
        ),
        Panel(
            "Cache in use",
            "Share of each engine's key-value cache that is taken; full means preemption.",
            "percentunit",
            (gauge("vllm:kv_cache_usage_perc"),),
            top=1,
            alarm_from=0.95,
        ),
        Panel(
            "Tokens in and out",
            "Prompt tokens read and tokens generated, each second.",
            "short",
            (
                Query(rate("vllm:prompt_tokens_total"), "{{url}} prompt"),
                Query(rate("vllm:generation_tokens_total"), "{{url}} generated"),
            ),
        ),
        Panel(
            "Prefix cache",
            "Share of prompt tokens that were found in the cache.",
            "percentunit",
            (
                Query(
                    f"{rate('vllm:prefix_cache_hits_total')} / clamp_min("
                    f"{rate('vllm:prefix_cache_queries_total')}, 1e-9)",
                    "{{url}}",
                ),
            ),
            top=1,
        ),
        Panel(
            "Preemptions",
            "Requests whose cache was taken away to make room: they start anew.",
            "short",
            (Query(rate("vllm:num_preemptions_total"), "{{url}}"),),
            alarm_from=1,
        ),
    ),
)
LATENCY = Row(
    "Latency, inside of the engine",
    (
        Panel(
            "Time to the first token",
            "From a request's arrival at the engine to its first token.",
            "s",
            spread("vllm:time_to_first_token_seconds"),
        ),
        Panel(
            "Time between tokens",
            "From each token to the next one.",
            "s",
            spread("vllm:inter_token_latency_seconds"),
        ),
        Panel(
            "Whole request",
            "From a request's arrival at the engine to its last token.",
            "s",
            spread("vllm:e2e_request_latency_seconds"),
        ),
        Panel(
            "In the engine's queue",
            "How long requests wait inside of the engine.",
            "s",
            spread("vllm:request_queue_time_seconds"),
        ),
        Panel(
            "Prefill",
            "How long the engine reads a prompt.",
            "s",
            spread("vllm:request_prefill_time_seconds"),
        ),
        Panel(
            "Decode",
            "How long the engine writes an answer.",
            "s",
            spread("vllm:request_decode_time_seconds"),
        ),
    ),
)
SHAPE = Row(
    "Requests",
    (
        Panel(
            "Ends",
            "Requests that ended, by why: `stop`, `length`, `abort`, `error`.",
            "reqps",
            (
                Query(
                    f"sum by (checkpoint, finished_reason) "
                    f"({rate('vllm:request_success_total', 'finished_reason')})",
                    "{{checkpoint}} {{finished_reason}}",
                ),
            ),
        ),
        Panel(
            "Length of prompts",
            "How many tokens a prompt has.",
            "short",
            spread("vllm:request_prompt_tokens"),
        ),
        Panel(
            "Length of answers",
            "How many tokens an answer has.",
            "short",
            spread("vllm:request_generation_tokens"),
        ),
    ),
)
ENGINES = Dashboard(
    "engines",
    "engines",
    "vLLM's own metrics: load, cache, latency and lengths, by engine and checkpoint.",
    (LOAD, LATENCY, SHAPE),
    (
        Variable(
            "checkpoint",
            "Checkpoint",
            "label_values(vllm:num_requests_running, checkpoint)",
        ),
    ),
    since="now-1h",
)
