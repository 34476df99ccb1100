"""The dashboard *Access*: who applies, how long it takes, who may use what, and who does."""

from deploy.grafana.panels import RATE, Dashboard, Panel, Query, Row, Variable

APPLICATIONS = Row(
    "Applications",
    (
        Panel(
            "Waiting for somebody",
            "Applications in a state in which a reviewer, an approver or the applicant must act.",
            "short",
            (
                Query(
                    "sum(max by (state) (airlock_applications{state=~"
                    '"submitted|identity_review|domain_review|approval|approved|appealed"}))',
                    "applications",
                ),
            ),
            "stat",
            6,
            4,
        ),
        Panel(
            "The longest wait",
            "How long the oldest of them has been in its state; open ones lapse after 30 days.",
            "s",
            (Query("max(airlock_application_waiting_seconds)", "wait"),),
            "stat",
            6,
            4,
            alarm_from=7 * 86_400,
        ),
        Panel(
            "Live grants",
            "Grants that count at this moment.",
            "short",
            (Query('sum(max by (domain) (airlock_grants{state="active"}))', "grants"),),
            "stat",
            6,
            4,
        ),
        Panel(
            "End within a week",
            "Live grants that end within seven days, as things are.",
            "short",
            (Query('sum(max by (domain) (airlock_grants_ending{days="7"}))', "grants"),),
            "stat",
            6,
            4,
        ),
        Panel(
            "Applications by state",
            "How many applications are where.",
            "short",
            (Query("max by (state) (airlock_applications)", "{{state}}"),),
            width=12,
            is_stacked=True,
        ),
        Panel(
            "Longest wait by state",
            "How long the oldest application has been in each state in which somebody must act.",
            "s",
            (Query("max by (state) (airlock_application_waiting_seconds)", "{{state}}"),),
            width=12,
        ),
        Panel(
            "Time to a decision",
            "From an application's being submitted to its being approved, returned or rejected, "
            "over the last 30 days.",
            "s",
            (
                Query(
                    "histogram_quantile(0.5, sum by (le) (max by (le, decision) "
                    "(increase(airlock_application_decision_seconds_bucket[30d]))))",
                    "p50",
                ),
                Query(
                    "histogram_quantile(0.9, sum by (le) (max by (le, decision) "
                    "(increase(airlock_application_decision_seconds_bucket[30d]))))",
                    "p90",
                ),
            ),
            width=12,
        ),
        Panel(
            "Decisions",
            "Applications decided in a day, by the decision.",
            "short",
            (
                Query(
                    "max by (decision) (increase(airlock_application_decision_seconds_count[1d]))",
                    "{{decision}}",
                ),
            ),
            width=12,
            is_stacked=True,
        ),
    ),
)
GRANTS = Row(
    "Grants and people",
    (
        Panel(
            "Live grants by domain",
            "Grants that count at this moment, by the hazard domain that they open.",
            "short",
            (Query('max by (domain) (airlock_grants{state="active"})', "{{domain}}"),),
        ),
        Panel(
            "Grants that do not count",
            "Grants that are suspended, have ended, or have not begun; revoked ones are gone.",
            "short",
            (
                Query(
                    'max by (domain, state) (airlock_grants{state!="active"})',
                    "{{domain}} {{state}}",
                ),
            ),
        ),
        Panel(
            "Grants that end soon",
            "Live grants that end within 1, 7 and 30 days, as things are.",
            "short",
            (
                Query(
                    "max by (domain, days) (airlock_grants_ending)",
                    "{{domain}} within {{days}} d",
                ),
            ),
        ),
        Panel(
            "People by tier",
            "Everybody with an entry, by tier and state.",
            "short",
            (Query("max by (tier, state) (airlock_people)", "{{tier}} {{state}}"),),
        ),
        Panel(
            "Doors that are closed",
            "1 for each domain that somebody has closed for everybody.",
            "short",
            (Query("max by (domain) (airlock_doors_closed)", "{{domain}}"),),
            alarm_from=1,
        ),
        Panel(
            "What the audit log has gained",
            "Changes in an hour, by what happened; requests are left out.",
            "short",
            (
                Query(
                    "max by (tag) (increase(airlock_log_entries_total"
                    '{tag!~"dataplane:.*"}[1h])) > 0',
                    "{{tag}}",
                ),
            ),
        ),
    ),
)
USE = Row(
    "Use and refusals",
    (
        Panel(
            "Use of checkpoints that know a hazard",
            "Requests that were answered by another alias than the public one, by tier.",
            "reqps",
            (
                Query(
                    "sum by (alias, tier) (rate(airlock_requests_total"
                    f'{{alias!~".*:unlearned|other", tier=~"$tier"}}{RATE}))',
                    "{{alias}} / {{tier}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "Their tokens in a day",
            "Tokens that those requests had, of prompts and of answers.",
            "short",
            (
                Query(
                    "sum by (alias, type) (increase(airlock_tokens_total"
                    '{alias!~".*:unlearned|other", tier=~"$tier"}[1d]))',
                    "{{alias}} {{type}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "Refused: who is asking",
            "Keys, tokens and sessions that were refused, keys at addresses that they are not "
            "bound to, and providers that did not answer.",
            "reqps",
            (
                Query(f"sum(rate(airlock_address_refusals_total{RATE}))", "address not allowed"),
                Query(f"sum by (reason) (rate(airlock_auth_failures_total{RATE}))", "{{reason}}"),
                Query(
                    "sum by (issuer, question) "
                    f"(rate(airlock_identity_provider_faults_total{RATE}))",
                    "{{issuer}} did not answer: {{question}}",
                ),
            ),
        ),
        Panel(
            "Refused: what is asked for",
            "Requests whose caller's grants, tier or limits do not cover them, by the reason.",
            "reqps",
            (
                Query(
                    "sum by (outcome) (rate(airlock_requests_total{outcome=~"
                    '"GrantRequiredError|GrantRevokedError|NotPermittedError|'
                    'UnsupportedParameterError|RateLimitedError|QuotaExceededError"}'
                    f"{RATE}))",
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Kept contents",
            "Requests and answers that were sealed and written, and base requests that got 503 "
            "because theirs could not be. Refused must stay 0.",
            "short",
            (
                Query(f"sum(increase(airlock_contents_kept_total{RATE}))", "kept"),
                Query(f"sum(increase(airlock_contents_refused_total{RATE}))", "refused"),
            ),
        ),
        Panel(
            "Contents in memory",
            "Contents that wait to be sealed and written, or for the end of their answer; beyond "
            "AIRLOCK_CONTENTS_MAX_WAITING_BYTES base requests are refused.",
            "bytes",
            (Query("airlock_contents_held_bytes", "{{instance}}"),),
        ),
        Panel(
            "Notices",
            "Attempts to send a mail or webhook, by how they ended; what waits or was given up.",
            "short",
            (
                Query(
                    f"sum by (channel, outcome) (increase(airlock_notices_total{RATE}))",
                    "{{channel}} {{outcome}}",
                ),
                Query("max(airlock_notices_waiting)", "waiting"),
                Query("max(airlock_notices_dead)", "given up"),
            ),
        ),
        Panel(
            "Capabilities in use",
            "Requests that used what a tier allows beyond a plain answer: each is a lever that "
            "can bring unlearned knowledge back.",
            "reqps",
            (
                Query(
                    "sum by (tier, capability) (rate(airlock_capability_uses_total"
                    f'{{tier=~"$tier"}}{RATE}))',
                    "{{tier}}: {{capability}}",
                ),
            ),
        ),
    ),
)
ACCESS = Dashboard(
    "access",
    "access",
    "Who applies, how long does it take, who may use what, and who does?",
    (APPLICATIONS, GRANTS, USE),
    (Variable("tier", "Tier", "label_values(airlock_requests_total, tier)"),),
    since="now-7d",
)
