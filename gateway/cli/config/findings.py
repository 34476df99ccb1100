"""What stands against a start with given settings, or makes one less safe; each with its remedy.

It reads settings, and `files` looks at the files that they name; it asks no server. No finding
holds a setting's value where that could be a secret.
"""

import difflib
import json
import os
from collections.abc import Iterator, Mapping

from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from gateway.audit.checkpoint import VerifierKey
from gateway.cli.config.files import file_findings
from gateway.cli.config.finding import Finding, problem, variable, warning
from gateway.cli.config.values import has_password, without_secrets
from gateway.errors import AuditFileError
from gateway.setting_file import CONFIG_FILE
from gateway.settings import Settings

DATABASES = ("sqlite+aiosqlite", "postgresql+psycopg")
LOOPBACK = ("http://127.0.0.1", "http://localhost", "https://")


def unknown_variables(environment: Mapping[str, str]) -> list[Finding]:
    """Find variables that look like settings and are none: a wrong letter would go unnoticed."""
    known = {variable(field) for field in Settings.model_fields} | {CONFIG_FILE}
    found = []
    for name in sorted(environment):
        if not name.startswith("AIRLOCK_") or name.split("__")[0] in known:
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "docs/settings.md lists the settings."
        found.append(Finding("problem", name, "there is no such setting", hint))
    return found


def invalid(error: ValidationError | SettingsError) -> list[Finding]:
    """Explain why the settings could not be read, without what was given."""
    if isinstance(error, SettingsError):
        return [Finding("problem", "settings", str(error), "write it as JSON, or in the file.")]
    found = []
    for each in error.errors(include_input=False, include_url=False, include_context=False):
        field = str(each["loc"][0]) if each["loc"] else ""
        known = Settings.model_fields.get(field)
        means = " ".join((known.description or "").split()) if known else ""
        place = variable("_".join(map(str, each["loc"]))) if field else "settings"
        remedy = means or f"docs/settings.md lists the settings; {CONFIG_FILE} names their file."
        wrong = "there is no such setting" if each["type"] == "extra_forbidden" else each["msg"]
        found.append(Finding("problem", place, wrong, remedy))
    return found


def findings_of(settings: Settings) -> list[Finding]:
    """Return everything found, problems first."""
    found = [
        *_database(settings),
        *file_findings(settings),
        *_grants(settings),
        *_engines(settings),
        *_times(settings),
        *_audit(settings),
        *_replicas(settings),
        *_login(settings),
    ]
    return sorted(found, key=lambda finding: finding.severity)


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None:
        return
    try:
        driver = make_url(settings.database_url).drivername
    except (ArgumentError, ValueError):
        yield problem("database_url", "it is no URL", "write postgresql+psycopg://user@host/name.")
        return
    if driver not in DATABASES:
        yield problem("database_url", f"{driver} is not served", "use postgresql+psycopg://…")
    if settings.allow_newer_schema:
        yield warning(
            "allow_newer_schema",
            "this version may not know what a newer schema restricts",
            "leave this out once the roll back, or the roll, is over.",
        )
    for field in ("database_url", "redis_url"):
        value = getattr(settings, field)
        if value is not None and has_password(value):
            file = field.replace("url", "password_file")
            yield warning(
                field,
                "it holds a password, which whoever lists processes can read",
                f"write the password into a file and name it in {variable(file)}.",
            )


def _grants(settings: Settings) -> Iterator[Finding]:
    if settings.direct_grants and not settings.is_embedded:
        yield warning(
            "direct_grants",
            "one administrator opens a base checkpoint to anybody",
            "leave this out once there are reviewers; see docs/verification.md.",
        )


def _engines(settings: Settings) -> Iterator[Finding]:
    if not settings.require_attestation:
        yield warning(
            "require_attestation",
            "an engine's own word for what it serves is enough",
            "start engines with `airlock engine --attest-port`, and leave this out.",
        )
    urls = [engine.url for engine in settings.engines]
    for url in sorted({url for url in urls if urls.count(url) > 1}):
        shown = without_secrets(url)
        yield problem("engines", f"{shown} is listed twice", "an engine serves one checkpoint.")
    for url in urls:
        if not url.startswith(LOOPBACK):
            yield warning(
                "engines",
                f"keys and prompts go to {without_secrets(url)} unencrypted",
                "keep the gateway and this engine on a network of their own, or use https://.",
            )


def _times(settings: Settings) -> Iterator[Finding]:
    if settings.snapshot_poll_seconds >= settings.privileged_max_age_seconds:
        yield problem(
            "snapshot_poll_seconds",
            "the snapshot is always too old for base checkpoints",
            "poll several times within AIRLOCK_PRIVILEGED_MAX_AGE_SECONDS.",
        )
    if settings.privileged_max_age_seconds > 1:
        yield warning(
            "privileged_max_age_seconds",
            "while the database is silent, a revoked grant counts for longer than a second",
            "leave this out.",
        )
    if settings.probe_seconds >= settings.attestation_max_age_seconds:
        yield problem(
            "probe_seconds",
            "an engine's attestation is too old before it is asked again",
            "probe several times within AIRLOCK_ATTESTATION_MAX_AGE_SECONDS.",
        )
    if settings.idle_timeout_seconds > settings.request_timeout_seconds:
        yield warning(
            "idle_timeout_seconds",
            "a whole answer may not take as long as the pause in one",
            "make it shorter than AIRLOCK_REQUEST_TIMEOUT_SECONDS.",
        )


def _audit(settings: Settings) -> Iterator[Finding]:
    if settings.audit_witness_url is None or settings.audit_witness_key is None:
        yield warning(
            "audit_witness_url",
            "nobody else keeps what the audit log was, so a log written anew goes unnoticed",
            "run `airlock audit witness` on another machine (docs/audit.md).",
        )
        return
    try:
        VerifierKey.parse(settings.audit_witness_key)
    except AuditFileError as error:
        yield problem("audit_witness_key", str(error), "copy what the witness prints.")


def _replicas(settings: Settings) -> Iterator[Finding]:
    if settings.redis_url is None and not settings.is_embedded:
        yield warning(
            "redis_url",
            "each replica counts limits alone: N replicas admit N times every limit",
            "name a Redis, or run one replica.",
        )
    on_sqlite = settings.is_embedded or (settings.database_url or "").startswith("sqlite")
    if settings.redis_url is not None and on_sqlite:
        yield warning(
            "database_url",
            "several workers wait for each other's writes on SQLite",
            "use PostgreSQL; Redis is of no use to a single worker.",
        )
    if settings.redis_url is not None and settings.redis_degraded_share == 1:
        yield warning(
            "redis_degraded_share",
            "while Redis is silent each worker admits every limit whole",
            "set one divided by the number of workers.",
        )
    if settings.files_folder is None and not settings.is_embedded:
        yield warning(
            "files_folder",
            "uploaded files are under this replica's home, where no other finds them",
            "name a folder that every replica shares.",
        )
    folder = settings.files_folder
    if folder is not None and folder.exists() and not os.access(folder, os.W_OK):
        yield problem("files_folder", f"{folder} cannot be written", "give it to this user.")


def _login(settings: Settings) -> Iterator[Finding]:
    logins = [issuer.name for issuer in settings.issuers if issuer.client_id is not None]
    if logins and settings.public_url is None:
        yield problem(
            "public_url",
            f"people cannot come back from {json.dumps(logins)} without it",
            "set the address that browsers see.",
        )
    if settings.public_url is not None and not logins:
        yield warning(
            "issuers", "no issuer has a client_id, so nobody can log in", "docs/login.md."
        )
