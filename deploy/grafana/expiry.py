"""The row of *Safety* on what ends by itself or grows old: releases, keys, secrets, backups."""

from deploy.grafana.panels import Panel, Query, Row

EXPIRY = Row(
    "What ends",
    (
        Panel(
            "Releases end in",
            "When the newest release of each alias ends by itself; then its door is closed.",
            "s",
            (
                Query(
                    "min by (alias) (airlock_release_expiry_timestamp_seconds) - time()",
                    "{{alias}}",
                ),
            ),
        ),
        Panel(
            "Keys of the trust store end in",
            "When each signer's key ends; without two releasers' keys nothing can be released.",
            "s",
            (
                Query(
                    "min by (role, key) (airlock_trust_key_expiry_timestamp_seconds) - time()",
                    "{{role}} {{key}}",
                ),
            ),
        ),
        Panel(
            "Certificates end in",
            "When the certificates end of the public address, issuers and engines.",
            "s",
            (
                Query(
                    "min by (host) (airlock_certificate_expiry_timestamp_seconds) - time()",
                    "{{host}}",
                ),
            ),
        ),
        Panel(
            "Age of secrets",
            "Since each secret's file was written.",
            "s",
            (Query("max by (secret) (airlock_secret_age_seconds)", "{{secret}}"),),
        ),
        Panel(
            "Age of API keys",
            "Age of the oldest key of each kind that still counts.",
            "s",
            (Query("max by (kind) (airlock_api_key_age_seconds)", "{{kind}}"),),
        ),
        Panel(
            "Age of backups",
            "How old the newest backup is that was made, and that was verified; three hours are "
            "too old.",
            "s",
            (Query("time() - max by (of) (airlock_backup_timestamp_seconds)", "{{of}}"),),
            alarm_from=3 * 3600,
        ),
        Panel(
            "Versions and counts",
            "Gateways by version, and how long ago what is shown here was counted.",
            "short",
            (
                Query("count by (version) (airlock_build_info)", "{{version}}"),
                Query(
                    "time() - min by (of) (airlock_census_timestamp_seconds)",
                    "{{of}} counted, seconds ago",
                ),
            ),
        ),
    ),
)
