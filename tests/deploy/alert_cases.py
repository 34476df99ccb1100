"""For each alert the series under which it fires, and others under which it stays quiet.

Series are in promtool's notation, a sample a step: `0+10x60` grows by ten each time, `5x60` stays.
"""

from typing import NamedTuple

GOOD = 'airlock_requests_total{outcome="ok"}'
BAD = 'airlock_requests_total{outcome="InternalError"}'
SOON = 'airlock_time_to_first_token_seconds_bucket{outcome="ok", le="2.5"}'
ALL = 'airlock_time_to_first_token_seconds_count{outcome="ok"}'
UP = 'up{job="airlock", instance="a:8000"}'
OTHER_UP = 'up{job="airlock", instance="b:8000"}'
ALIAS = '{alias="smollm2:base"}'
ENGINE = '{url="http://e:8000", checkpoint="sha256:0"}'
A = '{instance="a:8000"}'
REVIEW = 'airlock_application_waiting_seconds{state="domain_review"}'
LAG = "airlock_snapshot_lag_seconds"
LOOP = "airlock_event_loop_lag_seconds_bucket"
FILES = '_fds{job="airlock", instance="a:8000"}'
COUNTED = "airlock_census_timestamp_seconds"
BACKUP = "airlock_backup_timestamp_seconds"
DAY = 86_400
Series = dict[str, str]


class Case(NamedTuple):
    """One alert's two situations."""

    fires: Series
    quiet: Series | None
    """None of what always fires."""
    minutes: int = 20
    """When it is looked at."""
    step: int = 1
    """Minutes between two samples, and between two evaluations."""


CASES = {
    "AirlockWatchdog": Case({UP: "0x20"}, None),
    "AirlockFaultsBurnFast": Case(
        {GOOD: "0+90x90", BAD: "0+10x90"},
        # Half an hour of faults that is over.
        {GOOD: "0+90x90", BAD: "0+10x30 300x60"},
        75,
    ),
    "AirlockFaultsBurnSlow": Case(
        {GOOD: "0+98x40", BAD: "0+2x40"}, {GOOD: "0+997x40", BAD: "0+3x40"}, 150, 5
    ),
    "AirlockFirstTokensBurnFast": Case(
        {SOON: "0+2x90", ALL: "0+10x90"}, {SOON: "0+8x90", ALL: "0+10x90"}, 75
    ),
    "AirlockFirstTokensBurnSlow": Case(
        {SOON: "0+8x40", ALL: "0+10x40"}, {SOON: "0+97x40", ALL: "0+100x40"}, 150, 5
    ),
    "AirlockTierViolation": Case(
        {"airlock_tier_violation_total": "0x10 1x20"}, {"airlock_tier_violation_total": "0x30"}
    ),
    "AirlockGateNotPassed": Case(
        {f"airlock_gate_passed{ALIAS}": "0x30"}, {f"airlock_gate_passed{ALIAS}": "1x30"}
    ),
    "AirlockEngineDrifted": Case(
        {f"airlock_engine_drift_total{ENGINE}": "0x10 1x20"},
        {f"airlock_engine_drift_total{ENGINE}": "3x30"},
    ),
    "AirlockRevocationLag": Case(
        {f'{LAG}_bucket{{le="1.0", instance="a:8000"}}': "0+9x30", f"{LAG}_count{A}": "0+10x30"},
        {
            f'{LAG}_bucket{{le="1.0", instance="a:8000"}}': "0+10x30",
            f"{LAG}_count{A}": "0+10x30",
            f"airlock_snapshot_age_seconds{A}": "0.3x30",
        },
    ),
    "AirlockAliasClosed": Case(
        {f"airlock_alias_open{ALIAS}": "0x30"}, {f"airlock_alias_open{ALIAS}": "1x30"}
    ),
    "AirlockDoorClosed": Case(
        {'airlock_doors_closed{domain="all"}': "1x30"},
        # It was lifted.
        {'airlock_doors_closed{domain="all"}': "1x10 _x20"},
    ),
    "AirlockReleaseEndsToday": Case(
        {f"airlock_release_expiry_timestamp_seconds{ALIAS}": f"{DAY}x30"},
        {f"airlock_release_expiry_timestamp_seconds{ALIAS}": f"{2 * DAY}x30"},
    ),
    "AirlockReleaseEndsSoon": Case(
        {f"airlock_release_expiry_timestamp_seconds{ALIAS}": f"{6 * DAY}x30"},
        {f"airlock_release_expiry_timestamp_seconds{ALIAS}": f"{8 * DAY}x30"},
    ),
    "AirlockAuditStalled": Case(
        {"airlock_audit_oldest_waiting_seconds": "0x10 12+60x20"},
        # One group that failed and was written afterwards.
        {
            "airlock_audit_oldest_waiting_seconds": "0.1x30",
            "airlock_audit_failures_total": "0x9 1x20",
        },
    ),
    "AirlockAuditUnsigned": Case(
        {"airlock_audit_signed_timestamp_seconds": "60x30"},
        {"airlock_audit_signed_timestamp_seconds": "0+60x30"},
    ),
    "AirlockNoGateway": Case({UP: "0x30"}, {UP: "0x30", OTHER_UP: "1x30"}),
    "AirlockGatewayDown": Case({UP: "0x30", OTHER_UP: "1x30"}, {UP: "1x15 0x1 1x20"}),
    "AirlockAliasWithoutEngine": Case(
        {f"airlock_alias_engines{ALIAS}": "0x30"}, {f"airlock_alias_engines{ALIAS}": "1x30"}
    ),
    "AirlockEngineOut": Case(
        {f"airlock_engine_up{ENGINE}": "0x30"}, {f"airlock_engine_up{ENGINE}": "1x15 0x1 1x20"}
    ),
    "AirlockEngineFlapping": Case(
        {f"airlock_engine_up{ENGINE}": "1x10 0 1 0 1 0 1 0 1x10"},
        {f"airlock_engine_up{ENGINE}": "1x10 0 1x20"},
    ),
    "AirlockLimitsDegraded": Case(
        {f"airlock_limits_degraded{A}": "1x30"}, {f"airlock_limits_degraded{A}": "0x15 1 0x20"}
    ),
    "AirlockOverloaded": Case(
        {'airlock_requests_total{outcome="OverloadedError"}': "0+60x30"},
        {'airlock_requests_total{outcome="OverloadedError"}': "0+1x30"},
    ),
    "AirlockEventLoopLate": Case(
        {
            f'{LOOP}{{le="0.25", instance="a:8000"}}': "0+100x30",
            f'{LOOP}{{le="0.5", instance="a:8000"}}': "0+300x30",
            f'{LOOP}{{le="+Inf", instance="a:8000"}}': "0+300x30",
        },
        {
            f'{LOOP}{{le="0.25", instance="a:8000"}}': "0+300x30",
            f'{LOOP}{{le="+Inf", instance="a:8000"}}': "0+300x30",
        },
    ),
    "AirlockOpenFiles": Case(
        {f"process_open{FILES}": "900x30", f"process_max{FILES}": "1024x30"},
        {f"process_open{FILES}": "500x30", f"process_max{FILES}": "1024x30"},
    ),
    "AirlockCensusStale": Case(
        {'airlock_census_timestamp_seconds{of="dataplane"}': "60x30"},
        {'airlock_census_timestamp_seconds{of="dataplane"}': "0+60x30"},
    ),
    "AirlockClockOff": Case(
        {f'{COUNTED}{{of="dataplane", instance="a:8000"}}': "-120+60x30"},
        # One is as it should be, the other has stopped counting.
        {
            f'{COUNTED}{{of="dataplane", instance="a:8000"}}': "-30+60x30",
            f'{COUNTED}{{of="dataplane", instance="b:8000"}}': "60x30",
        },
    ),
    "AirlockBackupOld": Case(
        # Made each hour, and the newest that could be read again is of long ago.
        {f'{BACKUP}{{of="made"}}': "0+300x90", f'{BACKUP}{{of="verified"}}': "0x90"},
        {f'{BACKUP}{{of="made"}}': "0+300x90", f'{BACKUP}{{of="verified"}}': "0+300x90"},
        330,
        5,
    ),
    "AirlockTrustKeyEndsSoon": Case(
        {'airlock_trust_key_expiry_timestamp_seconds{role="releaser", key="0"}': f"{13 * DAY}x30"},
        {'airlock_trust_key_expiry_timestamp_seconds{role="releaser", key="0"}': f"{15 * DAY}x30"},
    ),
    "AirlockCertificateEndsSoon": Case(
        {'airlock_certificate_expiry_timestamp_seconds{host="h:443"}': f"{13 * DAY}x30"},
        {'airlock_certificate_expiry_timestamp_seconds{host="h:443"}': f"{15 * DAY}x30"},
    ),
    "AirlockSecretOld": Case(
        {'airlock_secret_age_seconds{secret="engine"}': f"{181 * DAY}x30"},
        # It is not changed: everything that was hashed and encrypted with it would be lost.
        {'airlock_secret_age_seconds{secret="gateway"}': f"{999 * DAY}x30"},
    ),
    "AirlockAdminKeyOld": Case(
        {'airlock_api_key_age_seconds{kind="admin"}': f"{91 * DAY}x30"},
        {'airlock_api_key_age_seconds{kind="key"}': f"{91 * DAY}x30"},
    ),
    "AirlockKeyGuessing": Case(
        {'airlock_auth_failures_total{reason="InvalidKeyError"}': "0+600x30"},
        {'airlock_auth_failures_total{reason="InvalidKeyError"}': "0+60x30"},
    ),
    "AirlockIdentityProviderSilent": Case(
        {'airlock_identity_provider_faults_total{issuer="lab", question="keys"}': "0+1x30"},
        {'airlock_identity_provider_faults_total{issuer="lab", question="keys"}': "0x12 1x20"},
    ),
    "AirlockNoticesGivenUp": Case(
        {"airlock_notices_dead": "2x30"}, {"airlock_notices_dead": "0x30"}
    ),
    "AirlockApplicationsWait": Case({REVIEW: f"{8 * DAY}x30"}, {REVIEW: f"{6 * DAY}x30"}),
}
