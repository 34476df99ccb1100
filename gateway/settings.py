"""Every setting of the gateway, read once from a file and `AIRLOCK_*` variables.

No secret has a default: the embedded set-up makes its own, any other must be given one. What is
said under each field is what `docs/settings.md` says of it.
"""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.logs import Level
from gateway.setting_file import file_of
from gateway.setting_types import (
    MAX_DAYS,
    EngineSetting,
    IssuerSetting,
    MailAddress,
    PublicUrl,
    RedisUrl,
    VisaIssuerSetting,
    WebhookHost,
)


class Settings(BaseSettings):
    """The gateway's settings."""

    model_config = SettingsConfigDict(
        env_prefix="AIRLOCK_",
        env_ignore_empty=True,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    home: Path = Path(".airlock")
    """The directory that holds store, embedded database, files, keys and logs."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """The port to listen on."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of proxies whose word for a caller's address counts, as a JSON list."""
    proxy_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    """The header in which they give it; the other one is never read."""
    terminal_key_seconds: int = Field(86_400, ge=60, le=86_400)
    """How long a key that was made on the server's terminal takes steps that ask for a login."""
    admin_requests_per_minute: int = Field(600, ge=1)
    """How many requests to the admin API each gateway takes of one person, or of an administrator's
    key, in a minute; what revokes, suspends or closes is not among them."""
    direct_grants: bool = False
    """Whether one administrator may give grants that nobody applied for and no two people approved:
    for trying things out, and until there are reviewers."""
    database_url: str | None = None
    """SQLAlchemy URL (`postgresql+psycopg://…`); without one, SQLite under `home`."""
    database_password_file: Path | None = None
    """A file with the database's password, so that the URL need not hold it."""
    allow_newer_schema: bool = False
    """Whether the gateway starts on a schema that is newer than it knows: for a roll back by one
    release, see `docs/upgrade.md`."""
    secret_file: Path | None = None
    """A file with 32 random bytes or more, for hashing keys; made under `home` for SQLite."""
    key_pepper_files: dict[Annotated[int, Field(ge=2)], Path] = Field(default_factory=dict)
    """Peppers of API keys from version 2 on, as JSON: `{"2": "FILE"}`; see `docs/keys.md`."""
    engines: tuple[EngineSetting, ...] = ()
    """Engines, as a JSON list; the admin API can add others."""
    issuers: tuple[IssuerSetting, ...] = ()
    """Identity providers, as a JSON list; see `docs/login.md`."""
    visa_issuers: tuple[VisaIssuerSetting, ...] = ()
    """Issuers of GA4GH visas, as a JSON list; see `docs/transfers.md`."""
    public_url: PublicUrl | None = None
    """The gateway's own root address, as browsers see it; people log in there."""
    session_idle_seconds: int = Field(1800, ge=60, le=86_400)
    """A login that is not used for so long has ended."""
    session_seconds: int = Field(28_800, ge=300, le=604_800)
    """A login ends after so long in any case."""
    trust_file: Path | None = None
    """The trust store: whose signatures count; `trust/keys.json` under `home` by default."""
    release_poll_seconds: float = Field(0.5, gt=0)
    """How often releases, revocations and the trust store are looked at."""
    require_attestation: bool = True
    """Whether an engine must attest what it serves; without, its own word for it is enough."""
    attestation_max_age_seconds: float = Field(30.0, gt=0)
    """An engine whose last good attestation is older gets no request."""
    fingerprint_seconds: float = Field(3600.0, gt=0)
    """Between two replays of an engine's behavioural fingerprint."""
    snapshot_poll_seconds: float = Field(0.25, gt=0)
    """How often the version of keys, grants and promotions is looked at."""
    privileged_max_age_seconds: float = Field(1.0, gt=0)
    """With an older snapshot, only checkpoints that have forgotten every hazard are served."""
    snapshot_max_age_seconds: float = Field(60.0, gt=0)
    """With an older snapshot, nothing is served."""
    audit_origin: str = Field("airlock/audit", pattern=r"^[^\s+]{1,200}$")
    """The audit log's name, which that its checkpoints begin with: `example.org/airlock`."""
    audit_checkpoint_seconds: float = Field(10.0, gt=0)
    """How often the audit log's newest state is signed, and shown to the witness."""
    audit_witness_url: str | None = None
    """The root address of the witness (`airlock audit witness`), if there is one."""
    audit_witness_key: str | None = None
    """The witness's public key, as `airlock audit witness` prints it."""
    audit_timeout_seconds: float = Field(2.0, gt=0)
    """When a request is not in the audit log by then, it is not sent to a base checkpoint."""
    keep_contents: Literal["tiers", "base"] = "tiers"
    """Whose base requests' contents are kept, encrypted: those of members of tiers whose
    `log_level` is `contents`, or everybody's; see `docs/contents.md`."""
    contents_key_file: Path | None = None
    """The public key of whoever may read them; its private half stays elsewhere."""
    contents_days: float = Field(90.0, gt=0, le=MAX_DAYS)
    """How long they are kept; then the keys are destroyed."""
    contents_max_waiting_bytes: int = Field(67_108_864, ge=1024)
    """With more in memory that waits to be written, further base requests are refused."""
    max_body_bytes: int = Field(1_048_576, ge=1024)
    """The longest request body."""
    body_timeout_seconds: float = Field(30.0, gt=0)
    """How long a request's body may take to arrive."""
    max_output_tokens: int = Field(2048, ge=1)
    """The largest `max_tokens` that a request may ask for, and what an answer has without it."""
    connect_timeout_seconds: float = Field(2.0, gt=0)
    """For a connection to an engine."""
    idle_timeout_seconds: float = Field(120.0, gt=0)
    """For the engine's first byte, and between any two."""
    request_timeout_seconds: float = Field(600.0, gt=0)
    """For a whole answer."""
    engine_max_in_flight: int = Field(256, ge=1)
    """How many requests each engine is given at a time; further ones wait in the queue."""
    redis_url: RedisUrl | None = None
    """Redis (`redis://…`), by which several workers count limits together."""
    redis_password_file: Path | None = None
    """A file with its password, so that the URL need not hold it."""
    redis_timeout_seconds: float = Field(0.05, gt=0)
    """How long an exchange of a hundred accounts with it may take. No request waits for it."""
    redis_degraded_share: float = Field(0.5, gt=0, le=1)
    """The part of every limit that a worker admits while it does not know what others count: one
    divided by the number of workers keeps every limit."""
    queue_limit: int = Field(1000, ge=0)
    """How many requests may wait for the engines of one checkpoint."""
    queue_seconds: float = Field(30.0, gt=0)
    """How long a request may wait in the queue."""
    max_open_requests: int = Field(10_000, ge=1)
    """How many requests a worker has open at a time; further ones are turned away at once."""
    max_retries: int = Field(2, ge=0, le=10)
    """How many other engines are asked when one has not begun to work on a request."""
    breaker_failures: int = Field(3, ge=1)
    """An engine that fails for so many people in a row gets no request for a while."""
    breaker_open_seconds: float = Field(1.0, gt=0)
    """For how long, at first; doubled up to 30 seconds each time that a trial fails."""
    slow_start_seconds: float = Field(10.0, ge=0)
    """How long an engine that returns takes to get its full share."""
    balance: Literal["least-loaded", "prefix-affine"] = "least-loaded"
    """How replicas share requests; `prefix-affine` sends like beginnings to the same replica."""
    hold_back_seconds: float = Field(300.0, gt=0)
    """How long a request is held back under which an engine died."""
    probe_seconds: float = Field(1.0, gt=0)
    """Between two checks of what an engine serves."""
    census_seconds: float = Field(15.0, gt=0)
    """Between two counts of releases, keys, applications and grants for the metrics."""
    log_level: Level = "info"
    """From which level on the gateway's own lines are written."""
    traces_url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")] | None = None
    """Where traces are sent by OTLP over HTTP (`http://collector:4318/v1/traces`), if at all."""
    traces_share: float = Field(0.01, ge=0, le=1)
    """The share of requests that are traced."""
    metrics_token_file: Path | None = None
    """A file with the bearer token that `/metrics` asks for; without, it is open."""
    drain_seconds: float = Field(20.0, gt=0, le=86_400)
    """How long running answers may take to end when the gateway stops."""
    engine_priorities: bool = True
    """Whether engines schedule by priority, as `airlock engine` starts them; another engine refuses
    requests that have one."""

    files_folder: Path | None = None
    """Where uploaded files and results are kept, encrypted; `files` under `home` by default.
    Several gateways need one that they share."""
    file_max_bytes: int = Field(104_857_600, ge=1024)
    """The longest file."""
    file_days: float = Field(30.0, gt=0, le=MAX_DAYS)
    """How long a file is kept, at most."""
    files_per_person: int = Field(200, ge=1)
    """How many files a person may have."""
    file_bytes_per_person: int = Field(1_073_741_824, ge=1024)
    """How long they may be together."""
    upload_timeout_seconds: float = Field(600.0, gt=0)
    """How long a file may take to arrive."""
    batch_max_lines: int = Field(50_000, ge=1)
    """The most requests in a batch."""
    batches_per_person: int = Field(20, ge=1)
    """How many batches of a person may be under way."""
    batches_at_a_time: int = Field(8, ge=1)
    """How many batches a worker works on, each of another person."""
    batch_lines_at_a_time: int = Field(16, ge=1)
    """How many of their requests a worker has open."""
    batch_poll_seconds: float = Field(1.0, gt=0)
    """How often batches to take up are looked for, and whether one was cancelled."""
    batch_lease_seconds: float = Field(30.0, gt=0)
    """After which another worker takes up the batch of one that has died."""

    mail_host: str | None = None
    """The mail server; without one no mail is sent, and no address can be confirmed."""
    mail_port: int = Field(587, ge=1, le=65535)
    """Its port."""
    mail_security: Literal["starttls", "tls", "none"] = "starttls"
    """How the way to it is protected; `none` for one on this very host."""
    mail_user: str | None = None
    """Who the gateway is there."""
    mail_password_file: Path | None = None
    """A file with the password that goes with it."""
    mail_ca_file: Path | None = None
    """The certificates that count for it; the system's by default."""
    mail_from: MailAddress | None = None
    """The address in `From`."""
    mail_timeout_seconds: float = Field(10.0, gt=0, le=120)
    """How long each exchange with it may take."""
    webhook_hosts: tuple[WebhookHost, ...] = ()
    """Hosts that webhooks may lead to, as a JSON list: `ops.example.org`, `*.example.org:8443`."""
    webhook_private: bool = False
    """Whether webhooks may lead into private networks and do without TLS."""
    webhook_timeout_seconds: float = Field(10.0, gt=0, le=120)
    """How long a webhook's receiver may take to answer."""
    notice_poll_seconds: float = Field(2.0, gt=0)
    """How often notices to send are looked for."""
    notice_retry_seconds: float = Field(30.0, gt=0)
    """Until a notice is tried again at first; doubled up to six hours, for about a day."""
    notice_remind_seconds: float = Field(300.0, gt=0)
    """How often it is looked for what ends soon."""
    notice_days: float = Field(90.0, ge=40, le=MAX_DAYS)
    """How long notices are kept that were sent or given up; longer than any reminder is ahead."""

    @model_validator(mode="after")
    def _engines_attest(self) -> Self:
        # By their places, as other errors name them: an address may hold a password.
        silent = [f"engines.{n}" for n, one in enumerate(self.engines) if one.attest_url is None]
        if self.require_attestation and silent:
            raise ValueError(
                f"engines without attest_url: {', '.join(silent)}; name their side-cars, or set "
                "AIRLOCK_REQUIRE_ATTESTATION=false"
            )
        return self

    @model_validator(mode="after")
    def _issuers_are_distinct(self) -> Self:
        for field in ("name", "issuer"):
            if len({getattr(issuer, field) for issuer in self.issuers}) < len(self.issuers):
                raise ValueError(f"two issuers have the same {field}")
        if len({each.issuer for each in self.visa_issuers}) < len(self.visa_issuers):
            raise ValueError("two visa issuers have the same issuer")
        if sum(issuer.introspection for issuer in self.issuers) > 1:
            raise ValueError("one issuer has opaque tokens: they do not say whose they are")
        return self

    @model_validator(mode="after")
    def _mail_is_complete(self) -> Self:
        if self.mail_host is not None and self.mail_from is None:
            raise ValueError("AIRLOCK_MAIL_HOST takes AIRLOCK_MAIL_FROM")
        if (self.mail_user is None) != (self.mail_password_file is None):
            raise ValueError("AIRLOCK_MAIL_USER and …_PASSWORD_FILE are set together, or neither")
        if self.mail_user is not None and self.mail_security == "none":
            raise ValueError("a mail password takes AIRLOCK_MAIL_SECURITY starttls or tls")
        return self

    @model_validator(mode="after")
    def _witness_is_known(self) -> Self:
        if (self.audit_witness_url is None) != (self.audit_witness_key is None):
            raise ValueError("AIRLOCK_AUDIT_WITNESS_URL and …_KEY are set together, or neither")
        return self

    @model_validator(mode="after")
    def _contents_have_a_holder(self) -> Self:
        if self.keep_contents == "base" and self.contents_key_file is None:
            raise ValueError("AIRLOCK_KEEP_CONTENTS=base takes AIRLOCK_CONTENTS_KEY_FILE")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, and after it the file that it names.

        Raises:
            ConfigurationError: The file cannot be read: it may hold what closes a door.
        """
        file = file_of(settings_cls)
        return (
            (init_settings, env_settings) if file is None else (init_settings, env_settings, file)
        )

    @property
    def is_embedded(self) -> bool:
        """Whether the database is the embedded one."""
        return self.database_url is None
