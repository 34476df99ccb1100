"""`docs/settings.md`, made from the settings themselves: names, defaults, and what they mean."""

import json
import re
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.setting_types import EngineSetting, IssuerSetting, VisaIssuerSetting
from gateway.settings import Settings

HEAD = """\
# Settings

<!-- Made by `airlock config page --to docs/settings.md`; change gateway/settings.py instead. -->

The gateway reads its settings once, at its start: from the TOML file that `AIRLOCK_CONFIG_FILE` \
names, if it is set, and from the environment, which counts before the file. In the file a setting \
has its name in small letters without `AIRLOCK_`. A key that is no setting stops the start, and so \
does a file that cannot be read. No secret has a default; a secret is a file, and the setting \
names it. `AIRLOCK_HOME` is for the environment alone, \
or `airlock --home DIR`: every verb has it from there.

`airlock config check` says what is wrong or unsafe and what to do, without starting anything; \
`airlock config show` prints every value and where it comes from. Neither prints a secret.

```toml
# /etc/airlock/airlock.toml
database_url = "postgresql+psycopg://airlock@db:5432/airlock"
database_password_file = "/run/secrets/postgres_password"
secret_file = "/run/secrets/gateway_secret"

[[engines]]
url = "http://engine-base:8000"
digest = "sha256:…"
api_key_file = "/run/secrets/engine_base_key"
attest_url = "http://engine-base:8001"
```

| variable | default | means |
|---|---|---|
"""
NESTED = (
    ("AIRLOCK_ENGINES", "one engine", EngineSetting),
    ("AIRLOCK_ISSUERS", "one identity provider", IssuerSetting),
    ("AIRLOCK_VISA_ISSUERS", "one issuer of visas", VisaIssuerSetting),
)
TAIL = """
In the environment these are JSON lists:

```json
[{"url": "http://127.0.0.1:8101", "digest": "sha256:…", "api_key_file": "/run/secrets/engine-base",
  "attest_url": "http://127.0.0.1:8201"}]
```

An engine's own options are those of `airlock engine --help`; the gate's limits are in \
`models/gate.toml` ([gate.md](gate.md)).
"""


def settings_page() -> str:
    """Return the page."""
    rows = "".join(
        f"| `AIRLOCK_{name.upper()}` | {_default(field)} | {_means(field)} |\n"
        for name, field in Settings.model_fields.items()
    )
    return HEAD + rows + "".join(map(_nested, *zip(*NESTED, strict=True))) + TAIL


def _nested(name: str, what: str, kind: type[BaseModel]) -> str:
    rows = "".join(
        f"| `{key}` | {_default(field)} | {_means(field)} |\n"
        for key, field in kind.model_fields.items()
    )
    return f"\n`{name}` lists, of {what} each:\n\n| key | default | means |\n|---|---|---|\n{rows}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value in (None, (), {}):
        return "`none`"
    if isinstance(value, str | Path):
        return f"`{value}`"
    return f"`{json.dumps(value)}`"


def _means(field: FieldInfo) -> str:
    text = " ".join((field.description or "").split())
    return re.sub(r"`docs/([a-z-]+\.md)`", r"[\1](\1)", text)
