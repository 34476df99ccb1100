"""The dashboard *Safety*: what is served to whom, on what proof, and whether the doors hold."""

from deploy.grafana.expiry import EXPIRY
from deploy.grafana.panels import RATE, Dashboard, Panel, Query, Row, Variable, quantiles

OF = '{alias=~"$alias"}'
DOORS = Row(
    "Doors",
    (
        Panel(
            "Tier violations",
            "Requests stopped because a checkpoint beyond the caller's grants was about to answer. "
            "Must be 0.",
            "short",
            (Query("sum(increase(airlock_tier_violation_total[$__range]))", "violations"),),
            "stat",
            6,
            4,
            alarm_from=1,
        ),
        Panel(
            "Aliases that are closed",
            "Aliases whose newest release does not count: expired, revoked or wrongly signed.",
            "short",
            (Query("sum(1 - min by (alias) (airlock_alias_open))", "aliases"),),
            "stat",
            6,
            4,
            alarm_from=1,
        ),
        Panel(
            "Verdicts that are not PASS",
            "Aliases whose release rests on another verdict of the gate than PASS. Must be 0.",
            "short",
            (Query("sum(1 - min by (alias) (airlock_gate_passed))", "aliases"),),
            "stat",
            6,
            4,
            alarm_from=1,
        ),
        Panel(
            "Engines that drifted",
            "Engines that no longer said what they had said when they were judged.",
            "short",
            (Query("sum(increase(airlock_engine_drift_total[$__range]))", "engines"),),
            "stat",
            6,
            4,
            alarm_from=1,
        ),
        Panel(
            "What each alias serves",
            "The checkpoint that each alias points to, and how many verified engines serve it.",
            "short",
            (
                Query(
                    "max by (alias, checkpoint) (airlock_alias_info) "
                    "* on (alias) group_left () max by (alias) (airlock_alias_engines)",
                    "{{alias}} {{checkpoint}}",
                ),
            ),
            "table",
            12,
        ),
        Panel(
            "Asked for and served",
            "Which checkpoint requests were given, by the caller's tier and the model asked for.",
            "reqps",
            (
                Query(
                    "sum by (tier, requested_model, served_checkpoint) "
                    f"(rate(airlock_routed_total{RATE}))",
                    "{{tier}}: {{requested_model}} -> {{served_checkpoint}}",
                ),
            ),
            width=12,
        ),
    ),
)
GATE = Row(
    "The gate",
    (
        Panel(
            "What is left of a hazard, with its interval",
            "Right answers of the candidate in the report of each release; the 95 % interval must "
            "lie below the limit.",
            "percentunit",
            (
                Query(
                    "max by (alias, subset, bound) (airlock_gate_accuracy"
                    '{alias=~"$alias", of="candidate"})',
                    "{{alias}} {{subset}} {{bound}}",
                ),
                Query(
                    "max by (alias, rule) (airlock_gate_rule_limit"
                    '{alias=~"$alias", rule=~".*[.]accuracy"})',
                    "{{alias}} {{rule}} limit",
                ),
            ),
            width=12,
            top=1,
        ),
        Panel(
            "What the base knows, with its interval",
            "Right answers of the base in the same run: the control, without which a low number "
            "proves nothing.",
            "percentunit",
            (
                Query(
                    "max by (alias, subset, bound) (airlock_gate_accuracy"
                    '{alias=~"$alias", of="base"})',
                    "{{alias}} {{subset}} {{bound}}",
                ),
            ),
            width=12,
            top=1,
        ),
        Panel(
            "Bounds that the gate judged",
            "The confidence bounds beside their limits: accuracy left, share of the lead gone, "
            "drop of general ability.",
            "percentunit",
            (
                Query(
                    "max by (alias, rule) (airlock_gate_rule_value"
                    '{alias=~"$alias", rule=~".*[.](accuracy|gap_closed|drop)"})',
                    "{{alias}} {{rule}}",
                ),
                Query(
                    "max by (alias, rule) (airlock_gate_rule_limit"
                    '{alias=~"$alias", rule=~".*[.](accuracy|gap_closed|drop)"})',
                    "{{alias}} {{rule}} limit",
                ),
            ),
            width=24,
        ),
    ),
)
PROOF = Row(
    "Engines' word",
    (
        Panel(
            "Since the last attestation",
            "How long ago each engine last attested the released checkpoint, worst gateway.",
            "s",
            (
                Query(
                    "max by (url, checkpoint) (airlock_attestation_age_seconds)",
                    "{{url}} {{checkpoint}}",
                ),
            ),
            alarm_from=30,
        ),
        Panel(
            "Since the last replay of the fingerprint",
            "How long ago each engine last said what its fingerprint says.",
            "s",
            (
                Query(
                    "max by (url, checkpoint) (airlock_fingerprint_age_seconds)",
                    "{{url}} {{checkpoint}}",
                ),
            ),
        ),
        Panel(
            "Drift",
            "Engines taken out because they no longer say what their fingerprint says.",
            "short",
            (
                Query(
                    "max by (url, checkpoint) (increase(airlock_engine_drift_total[1h]))",
                    "{{url}}",
                ),
            ),
            alarm_from=1,
        ),
    ),
)
REVOCATION = Row(
    "Revocation and the audit log",
    (
        Panel(
            "What a revocation takes at most",
            "How old what a gateway knows of keys, grants and releases had become each time that "
            "it was known to be current again; beyond a second no base is served.",
            "s",
            quantiles("airlock_snapshot_lag_seconds", "instance", "{{instance}}"),
            alarm_from=1,
        ),
        Panel(
            "Age of what is known",
            "How long ago a gateway last knew that keys, grants and releases were current.",
            "s",
            (Query("airlock_snapshot_age_seconds", "{{instance}}"),),
            alarm_from=1,
        ),
        Panel(
            "Answers cut",
            "Running answers that were ended because their grant or key did.",
            "reqps",
            (Query(f"sum(rate(airlock_streams_cut_total{RATE}))", "cut"),),
        ),
        Panel(
            "Audit log: time to durable",
            "From an entry's arrival to its being durable; base requests wait for it.",
            "s",
            quantiles("airlock_audit_append_seconds", "", ""),
        ),
        Panel(
            "Audit log: waiting",
            "Entries that are not in the log yet, and how long the oldest has waited.",
            "short",
            (
                Query("sum(airlock_audit_waiting_entries)", "entries"),
                Query("max(airlock_audit_oldest_waiting_seconds)", "oldest, seconds"),
            ),
        ),
        Panel(
            "Audit log: failures",
            "Groups of entries that could not be written, and states that were not signed or "
            "witnessed.",
            "short",
            (
                Query("sum(increase(airlock_audit_failures_total[5m]))", "not written"),
                Query("sum(increase(airlock_audit_witness_failures_total[5m]))", "not witnessed"),
            ),
            alarm_from=1,
        ),
        Panel(
            "Audit log: entries",
            "How long the log is; it only grows.",
            "short",
            (Query("max(airlock_audit_entries)", "entries"),),
            width=12,
        ),
        Panel(
            "Audit log: since its state was signed",
            "How long ago the newest state was signed, and cosigned where there is a witness.",
            "s",
            (Query("time() - max(airlock_audit_signed_timestamp_seconds)", "signed"),),
            width=12,
            alarm_from=60,
        ),
    ),
)
SAFETY = Dashboard(
    "safety",
    "safety",
    "Which checkpoint is served to whom, on what proof, and do the doors hold?",
    (DOORS, GATE, PROOF, REVOCATION, EXPIRY),
    (Variable("alias", "Alias", "label_values(airlock_alias_info, alias)"),),
    since="now-24h",
)
