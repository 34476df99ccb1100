"""Rows of the dashboard *Service*: how full gateways are, and engines as the gateways see them."""

from deploy.grafana.panels import RATE, Panel, Query, Row

SATURATION = Row(
    "Saturation, by gateway",
    (
        Panel(
            "Being answered and waiting",
            "Requests that are being answered, wait for an engine, or are held back because an "
            "engine died while it answered them.",
            "short",
            (
                Query("airlock_in_flight_requests", "{{instance}} being answered"),
                Query("airlock_queued_requests", "{{instance}} waiting"),
                Query("airlock_held_back_requests", "{{instance}} held back"),
            ),
        ),
        Panel(
            "How late the event loop is",
            "A late loop delays everything: 99th percentile of how late a timer rang.",
            "s",
            (
                Query(
                    "histogram_quantile(0.99, sum by (le, instance) "
                    f"(rate(airlock_event_loop_lag_seconds_bucket{RATE})))",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "CPU",
            "Cores that a gateway uses; one process uses one at most.",
            "short",
            (Query(f'rate(process_cpu_seconds_total{{job="airlock"}}{RATE})', "{{instance}}"),),
        ),
        Panel(
            "Memory",
            "What a gateway holds in memory.",
            "bytes",
            (Query('process_resident_memory_bytes{job="airlock"}', "{{instance}}"),),
        ),
        Panel(
            "Open files",
            "Share of the files and connections that a process may have open.",
            "percentunit",
            (
                Query(
                    'process_open_fds{job="airlock"} / process_max_fds{job="airlock"}',
                    "{{instance}}",
                ),
            ),
            alarm_from=0.8,
        ),
        Panel(
            "Limits without Redis",
            "1 while a gateway admits only its share of every limit, as Redis does not answer.",
            "short",
            (Query("airlock_limits_degraded", "{{instance}}"),),
            alarm_from=1,
        ),
    ),
)
ENGINE_ROW = Row(
    "Engines, as the gateway sees them",
    (
        Panel(
            "In rotation",
            "1 while an engine answers, and serves and attests the checkpoint that it should.",
            "short",
            (Query("max by (url, checkpoint) (airlock_engine_up)", "{{url}} {{checkpoint}}"),),
        ),
        Panel(
            "Requests under way",
            "Requests that each engine is working on for all gateways.",
            "short",
            (Query("sum by (url) (airlock_engine_in_flight_requests)", "{{url}}"),),
        ),
        Panel(
            "Faults of engines",
            "Requests that an engine could not be given, failed at, or did not end in time.",
            "reqps",
            (
                Query(
                    f"sum by (url, kind) (rate(airlock_engine_errors_total{RATE}))",
                    "{{url}} {{kind}}",
                ),
            ),
        ),
        Panel(
            "Circuit breakers",
            "1 while an engine gets no requests because it failed at several in a row.",
            "short",
            (Query("max by (url) (airlock_breaker_open)", "{{url}}"),),
            alarm_from=1,
        ),
        Panel(
            "Retries",
            "Requests sent to another engine because one had not begun to work on them.",
            "reqps",
            (Query(f"sum(rate(airlock_retries_total{RATE}))", "retries"),),
        ),
        Panel(
            "Batches",
            "Requests of batches each second, batches that are worked on, and ends in an hour.",
            "short",
            (
                Query(f"sum by (outcome) (rate(airlock_batch_lines_total{RATE}))", "{{outcome}}/s"),
                Query("sum(airlock_batches_running)", "running"),
                Query(
                    "sum by (status) (increase(airlock_batches_ended_total[1h]))",
                    "{{status}} in an hour",
                ),
            ),
        ),
    ),
)
