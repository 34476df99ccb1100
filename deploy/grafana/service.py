"""The dashboard *Service*: rate, errors and duration by alias and tier, saturation, engines."""

from deploy.grafana.panels import FAULTS, RATE, Dashboard, Panel, Query, Row, Variable, quantiles
from deploy.grafana.saturation import ENGINE_ROW, SATURATION

OF = '{alias=~"$alias", tier=~"$tier"}'
REQUESTS = f"sum(rate(airlock_requests_total{OF}{RATE}))"
FAULTY = (
    'sum(rate(airlock_requests_total{alias=~"$alias", tier=~"$tier", '
    f'outcome=~"{FAULTS}"}}{RATE}))'
)

AT_A_GLANCE = Row(
    "At a glance",
    (
        Panel(
            "Requests",
            "Requests to the data plane that ended, each second.",
            "reqps",
            (Query(REQUESTS, "requests"),),
            "stat",
            4,
            4,
        ),
        Panel(
            "Faults",
            "Share of requests that ended with a fault of ours: every status of 500 and more.",
            "percentunit",
            (Query(f"({FAULTY} or vector(0)) / clamp_min({REQUESTS}, 1e-9)", "faults"),),
            "stat",
            4,
            4,
            alarm_from=0.005,
        ),
        Panel(
            "Error budget spent",
            "Of the 0.5 % of requests that may fail, what share the last three days have used.",
            "percentunit",
            (Query("airlock:faults:ratio_rate3d / 0.005", "spent"),),
            "stat",
            4,
            4,
            alarm_from=1,
        ),
        Panel(
            "Being answered",
            "Requests that are being answered at this moment, by all gateways.",
            "short",
            (Query("sum(airlock_in_flight_requests)", "requests"),),
            "stat",
            4,
            4,
        ),
        Panel(
            "Tier violations",
            "Requests stopped because a checkpoint beyond the caller's grants was about to answer. "
            "Must be 0.",
            "short",
            (Query("sum(increase(airlock_tier_violation_total[$__range]))", "violations"),),
            "stat",
            4,
            4,
            alarm_from=1,
        ),
        Panel(
            "Engines out of rotation",
            "Engines that do not answer, or do not serve or attest what they should.",
            "short",
            (Query("sum(1 - max by (url, checkpoint) (airlock_engine_up))", "engines"),),
            "stat",
            4,
            4,
            alarm_from=1,
        ),
    ),
)
REQUEST_ROW = Row(
    "Rate and errors",
    (
        Panel(
            "Requests by alias and tier",
            "Requests that ended, by the alias that answered and the caller's tier.",
            "reqps",
            (
                Query(
                    f"sum by (alias, tier) (rate(airlock_requests_total{OF}{RATE}))",
                    "{{alias}} / {{tier}}",
                ),
            ),
            width=12,
            is_stacked=True,
        ),
        Panel(
            "Requests by outcome",
            "`ok`, `client_gone`, or the name of the error that the caller was told.",
            "reqps",
            (
                Query(
                    f"sum by (outcome) (rate(airlock_requests_total{OF}{RATE}))",
                    "{{outcome}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "Tokens",
            "Tokens that engines counted, each second.",
            "short",
            (
                Query(
                    f"sum by (alias, type) (rate(airlock_tokens_total{OF}{RATE}))",
                    "{{alias}} {{type}}",
                ),
            ),
        ),
        Panel(
            "Turned away by a limit",
            "Requests that a limit of a tier, a key or the admin API turned away, by the limit.",
            "reqps",
            (
                Query(
                    f"sum by (kind) (rate(airlock_rate_limited_total{RATE}))",
                    "{{kind}}",
                ),
            ),
        ),
        Panel(
            "Answers that ended early",
            "Answers that were cut because their grant or key ended, and callers that left.",
            "reqps",
            (
                Query(f"sum(rate(airlock_streams_cut_total{RATE}))", "cut"),
                Query(f"sum(rate(airlock_client_disconnects_total{RATE}))", "hung up"),
            ),
        ),
    ),
)
DURATION_ROW = Row(
    "Duration",
    (
        Panel(
            "Time to the first token, as a heatmap",
            "How many requests began to be answered after how long: two humps are two causes.",
            "s",
            (
                Query(
                    f"sum by (le) (increase(airlock_time_to_first_token_seconds_bucket{OF}{RATE}))",
                    "{{le}}",
                ),
            ),
            "heatmap",
            12,
        ),
        Panel(
            "Time to the whole answer, as a heatmap",
            "How many requests were answered after how long.",
            "s",
            (
                Query(
                    f"sum by (le) (increase(airlock_request_duration_seconds_bucket{OF}{RATE}))",
                    "{{le}}",
                ),
            ),
            "heatmap",
            12,
        ),
        Panel(
            "Time to the first token",
            "From a request's first byte to the first byte of its answer's body.",
            "s",
            quantiles("airlock_time_to_first_token_seconds", "alias", "{{alias}}", OF),
        ),
        Panel(
            "Time between tokens",
            "Of each stream, the mean time between two of its tokens.",
            "s",
            quantiles("airlock_inter_token_seconds", "alias", "{{alias}}", OF),
        ),
        Panel(
            "Time to the whole answer",
            "From a request's first byte to the last byte of its answer.",
            "s",
            quantiles("airlock_request_duration_seconds", "alias", "{{alias}}", OF),
        ),
        Panel(
            "The gateway's own part",
            "From a request's first byte to its being ready for an engine.",
            "s",
            quantiles("airlock_overhead_seconds", "alias", "{{alias}}", OF),
        ),
        Panel(
            "In the queue",
            "From a request's being ready to an engine's having room for it.",
            "s",
            quantiles("airlock_queue_seconds", "alias", "{{alias}}", OF),
        ),
        Panel(
            "With the engine",
            "From the request that the engine gets to the end of the answer.",
            "s",
            quantiles("airlock_upstream_seconds", "alias", "{{alias}}", OF),
        ),
    ),
)
SERVICE = Dashboard(
    "service",
    "service",
    "Is the gateway doing its work, and what slows it? Requests, latency, saturation, engines.",
    (AT_A_GLANCE, REQUEST_ROW, DURATION_ROW, SATURATION, ENGINE_ROW),
    (
        Variable("alias", "Alias", "label_values(airlock_requests_total, alias)"),
        Variable("tier", "Tier", "label_values(airlock_requests_total, tier)"),
    ),
    since="now-1h",
)
