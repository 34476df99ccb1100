"""`airlock config`: what it finds wrong or unsafe, what it shows, and that the page is current."""

import json
import stat
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from gateway.app import create_app
from gateway.cli import main
from gateway.cli.config import files
from gateway.cli.config.page import NESTED, settings_page
from gateway.cli.config.values import value_lines, without_secrets
from gateway.errors import ConfigurationError
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
SECRET = "hunter2-hunter2"
DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set-up against which nothing can be said."""
    trust = tmp_path / "trust" / "keys.json"
    trust.parent.mkdir()
    trust.write_text("{}")
    trust.chmod(0o600)
    for name in ("secret", "password"):
        (tmp_path / name).write_text(SECRET * 3)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "files").mkdir()
    witness = "airlock/witness+c7a6bb8c+BL2XnAWKx8ShkWqOWCIzgVHUEWz0ha5lEp+FTOUZzL0t"
    for name, value in {
        "DATABASE_URL": "postgresql+psycopg://airlock@db/airlock",
        "DATABASE_PASSWORD_FILE": str(tmp_path / "password"),
        "SECRET_FILE": str(tmp_path / "secret"),
        "REDIS_URL": "redis://redis:6379/0",
        "FILES_FOLDER": str(tmp_path / "files"),
        "AUDIT_WITNESS_URL": "https://witness.example.org",
        "AUDIT_WITNESS_KEY": witness,
    }.items():
        monkeypatch.setenv(f"AIRLOCK_{name}", value)
    return tmp_path


def check(home: Path, *words: str) -> int:
    return main(["--home", str(home), "config", "check", *words])


def test_nothing_is_said_against_a_whole_setup(home, capsys, monkeypatch):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gateway.audit.checkpoint import WITNESS, SignerKey

    key = SignerKey("airlock/witness", WITNESS, Ed25519PrivateKey.generate()).verifier
    monkeypatch.setenv("AIRLOCK_AUDIT_WITNESS_KEY", str(key))
    assert check(home, "--strict") == 0, capsys.readouterr().out
    assert capsys.readouterr().out == "0 problems, 0 warnings\n"


@pytest.mark.parametrize(
    ("change", "severity", "place"),
    [
        ({"PRIVILEGED_MAX_AGE": "1"}, "problem", "PRIVILEGED_MAX_AGE"),
        ({"PORT": "no number"}, "problem", "PORT"),
        ({"ENGINES": "[{"}, "problem", "settings"),
        ({"DATABASE_URL": "mysql://db/airlock"}, "problem", "DATABASE_URL"),
        ({"DATABASE_URL": f"postgresql+psycopg://a:{SECRET}@h:xx/d"}, "problem", "DATABASE_URL"),
        ({"REDIS_URL": "redis:6379"}, "problem", "REDIS_URL"),
        ({"REDIS_URL": "redis://redis:port"}, "problem", "REDIS_URL"),
        ({"REDIS_URL": "redis://[::1"}, "problem", "REDIS_URL"),
        ({"CONTENTS_DAYS": "3000000"}, "problem", "CONTENTS_DAYS"),
        ({"NOTICE_DAYS": "999999"}, "problem", "NOTICE_DAYS"),
        ({"FILE_DAYS": "inf"}, "problem", "FILE_DAYS"),
        ({"DRAIN_SECONDS": "inf"}, "problem", "DRAIN_SECONDS"),
        ({"AUDIT_TIMEOUT_SECONDS": "nan"}, "problem", "AUDIT_TIMEOUT_SECONDS"),
        ({"SECRET_FILE": None}, "problem", "SECRET_FILE"),
        ({"SECRET_FILE": "/nowhere"}, "problem", "SECRET_FILE"),
        ({"AUDIT_WITNESS_KEY": "none"}, "problem", "AUDIT_WITNESS_KEY"),
        ({"SNAPSHOT_POLL_SECONDS": "1"}, "problem", "SNAPSHOT_POLL_SECONDS"),
        ({"PROBE_SECONDS": "60"}, "problem", "PROBE_SECONDS"),
        ({"PRIVILEGED_MAX_AGE_SECONDS": "5"}, "warning", "PRIVILEGED_MAX_AGE_SECONDS"),
        ({"IDLE_TIMEOUT_SECONDS": "700"}, "warning", "IDLE_TIMEOUT_SECONDS"),
        ({"REDIS_URL": f"redis://:{SECRET}@redis"}, "warning", "REDIS_URL"),
        ({"DATABASE_URL": f"postgresql+psycopg://a:{SECRET}@db/a"}, "warning", "DATABASE_URL"),
        ({"REDIS_URL": None}, "warning", "REDIS_URL"),
        ({"DATABASE_URL": None}, "warning", "DATABASE_URL"),
        ({"REDIS_DEGRADED_SHARE": "1"}, "warning", "REDIS_DEGRADED_SHARE"),
        ({"FILES_FOLDER": None}, "warning", "FILES_FOLDER"),
        ({"ALLOW_NEWER_SCHEMA": "true"}, "warning", "ALLOW_NEWER_SCHEMA"),
        ({"REQUIRE_ATTESTATION": "false"}, "warning", "REQUIRE_ATTESTATION"),
        ({"DIRECT_GRANTS": "true"}, "warning", "DIRECT_GRANTS"),
        ({"AUDIT_WITNESS_URL": None, "AUDIT_WITNESS_KEY": None}, "warning", "AUDIT_WITNESS_URL"),
        ({"PUBLIC_URL": "https://airlock.example.org"}, "warning", "ISSUERS"),
        ({"PUBLIC_URL": f"https://a:{SECRET}@airlock.example.org"}, "problem", "PUBLIC_URL"),
    ],
)
def test_each_is_found_explained_and_shows_no_secret(
    home, capsys, monkeypatch, change, severity, place
):
    for name, value in change.items():
        if value is None:
            monkeypatch.delenv(f"AIRLOCK_{name}")
        else:
            monkeypatch.setenv(f"AIRLOCK_{name}", value)
    status = check(home, "--strict")
    out = capsys.readouterr().out
    wanted = place if place == "settings" else f"AIRLOCK_{place}"
    lines = out.splitlines()
    (at, *_) = [at for at, line in enumerate(lines) if line.startswith(f"{severity}: {wanted}: ")]
    assert lines[at + 1].startswith("  "), "every finding says what to do"
    assert status == 1
    assert SECRET not in out


SPELLINGS = {
    "https://Gate.Example:443": "https://gate.example",
    "https://gate.example:443": "https://gate.example",
    "https://gate.example:08443": "https://gate.example:8443",
    "https://gate.example:": "https://gate.example",
    "https://g\u00e4te.example": "https://xn--gte-qla.example",
    "https://[0:0::1]:443": "https://[::1]",
    "http://localhost:80": "http://localhost",
}


@pytest.mark.parametrize("given", list(SPELLINGS))
def test_an_address_that_no_browser_writes_so_is_refused_with_the_right_spelling(
    home, capsys, monkeypatch, given
):
    monkeypatch.setenv("AIRLOCK_PUBLIC_URL", given)
    assert check(home) == 1
    assert f"browsers write it '{SPELLINGS[given]}'" in capsys.readouterr().out
    assert Settings(public_url=SPELLINGS[given]).public_url == SPELLINGS[given]


def test_two_engines_at_one_address_and_files_that_others_read(home, capsys, monkeypatch):
    key = home / "engine-key"
    key.write_text(SECRET)
    key.chmod(0o644)
    engine = {"url": "http://engine:8000", "digest": DIGEST, "api_key_file": str(key)}
    engine["attest_url"] = "http://engine:8001"
    monkeypatch.setenv("AIRLOCK_ENGINES", json.dumps([engine, engine]))
    (home / "trust" / "keys.json").chmod(0o666)
    assert check(home) == 1
    out = capsys.readouterr().out
    assert "http://engine:8000 is listed twice" in out
    assert f"everybody can read {key}" in out
    assert "unencrypted" in out
    assert "others can write" in out
    assert SECRET not in out
    assert stat.S_IMODE(key.stat().st_mode) == 0o644, "it only looks"


def test_a_secret_that_a_container_is_given_is_read_by_nobody_else(home, capsys, monkeypatch):
    (home / "password").chmod(0o444)
    check(home)
    assert "everybody can read" in capsys.readouterr().out
    monkeypatch.setattr(files, "MOUNTED", home)
    check(home)
    assert "everybody can read" not in capsys.readouterr().out


TOGETHER = {
    "mail_password_file": {"MAIL_USER": "airlock"},
    "mail_ca_file": {"MAIL_HOST": "mail.example.org", "MAIL_FROM": "airlock@example.org"},
}
"""What must be set beside a file."""


@pytest.mark.parametrize("field", [f for f in Settings.model_fields if f.endswith("_file")])
def test_a_file_that_is_not_there_is_found(home, capsys, monkeypatch, field):
    for name, value in {field.upper(): str(home / "nothing"), **TOGETHER.get(field, {})}.items():
        monkeypatch.setenv(f"AIRLOCK_{name}", value)
    assert check(home, "--strict") == 1
    out = capsys.readouterr().out
    # Without the trust store a gateway starts, and serves nothing.
    severity = "warning" if field == "trust_file" else "problem"
    assert f"{severity}: AIRLOCK_{field.upper()}: {home / 'nothing'}" in out


def test_a_token_for_metrics_that_is_not_there_ends_a_start_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRLOCK_METRICS_TOKEN_FILE", str(tmp_path / "nothing"))
    with pytest.raises(ConfigurationError, match="nothing"):
        create_app(Settings(home=tmp_path))


def test_warnings_alone_do_not_fail(home, monkeypatch):
    monkeypatch.delenv("AIRLOCK_REDIS_URL")
    monkeypatch.delenv("AIRLOCK_AUDIT_WITNESS_URL")
    monkeypatch.delenv("AIRLOCK_AUDIT_WITNESS_KEY")
    assert check(home) == 0
    assert check(home, "--strict") == 1


def test_the_environment_counts_before_the_file(tmp_path, monkeypatch, capsys):
    file = tmp_path / "airlock.toml"
    file.write_text(
        'port = 9000\nqueue_limit = 7\n[[engines]]\nurl = "http://127.0.0.1:1"\n'
        f'digest = "{DIGEST}"\napi_key_file = "k"\nattest_url = "http://127.0.0.1:2"\n'
    )
    monkeypatch.setenv("AIRLOCK_CONFIG_FILE", str(file))
    monkeypatch.setenv("AIRLOCK_PORT", "9001")
    settings = Settings()
    assert (settings.port, settings.queue_limit) == (9001, 7)
    assert settings.engines[0].digest == DIGEST
    assert main(["config", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "AIRLOCK_PORT=9001  # environment" in lines
    assert "AIRLOCK_QUEUE_LIMIT=7  # file" in lines
    assert "AIRLOCK_QUEUE_SECONDS=30.0  # default" in lines


@pytest.mark.parametrize("text", [None, "port = ", 'prot = "8000"', 'home = "/srv"'])
def test_a_file_that_cannot_be_followed_stops_the_start(tmp_path, monkeypatch, text):
    file = tmp_path / "airlock.toml"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("AIRLOCK_CONFIG_FILE", str(file))
    with pytest.raises((ConfigurationError, ValueError)):
        Settings()
    assert main(["config", "check"]) > 0


def test_a_variable_that_is_no_json_ends_a_start_with_one_line(monkeypatch, capsys):
    monkeypatch.setenv("AIRLOCK_ENGINES", f"[{SECRET}")
    assert main(["serve"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert '"engines"' in said
    assert SECRET not in said


def test_show_leaves_passwords_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AIRLOCK_DATABASE_URL", f"postgresql+psycopg://a:{SECRET}@db/a?x={SECRET}")
    monkeypatch.setenv("AIRLOCK_REDIS_URL", f"redis://:{SECRET}@redis/0")
    monkeypatch.setenv("AIRLOCK_TRACES_URL", f"https://{SECRET}@traces/v1?token={SECRET}")
    assert main(["--home", str(tmp_path), "config", "show"]) == 0
    out = capsys.readouterr().out
    assert SECRET not in out
    assert "postgresql+psycopg://***@db/a?***" in out


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("redis://redis/0", "redis://redis/0"),
        ("redis://:a@redis/0", "redis://***@redis/0"),
        ("https://a/b?c=d", "https://a/b?***"),
        ("https://a/b#c", "https://a/b#***"),
        ("https://a:b/c@d/e", "https://***@d/e"),
        ("https://a:b?c@d/e", "https://***"),
        ("https://a/b?c=d@e", "https://***"),
        ("postgresql:/a:b@c/d", "***"),
        ("ada@example.org", "ada@example.org"),
        ("*.example.org:8443", "*.example.org:8443"),
    ],
)
def test_of_an_address_neither_user_nor_query_is_shown(given, shown):
    assert without_secrets(given) == shown


def holding(kind: object) -> object:
    """Return a value of a type, with a secret wherever it takes text; None for what takes none."""
    match get_origin(kind):
        case None:
            if kind is str:
                return f"https://user:{SECRET}@host/path?token={SECRET}"
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                given = {
                    name: holding(field.annotation) for name, field in kind.model_fields.items()
                }
                return kind.model_construct(**given)
            if kind in (bool, int, float, Path):
                return kind()
            assert kind in {NoneType, IPv4Network, IPv6Network}, kind
            return None
        case origin if origin is Annotated:
            return holding(get_args(kind)[0])
        case origin if origin in (Union, UnionType):
            return next((made for arm in get_args(kind) if (made := holding(arm))), None)
        case origin if origin is tuple:
            return tuple(made for arm in get_args(kind)[:1] if (made := holding(arm)))
        case origin if origin is dict:
            return {holding(key): holding(value) for key, value in [get_args(kind)]}
        case origin:
            assert origin is Literal, kind
            return None


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_show_leaves_secrets_out_of_every_setting(name):
    """A new setting is looked at by its type, and a new type must be told how to hold one."""
    value = holding(Settings.model_fields[name].annotation)
    settings = Settings.model_construct(**{name: value})
    (line,) = [
        line for line in value_lines(settings, {}) if line.startswith(f"AIRLOCK_{name.upper()}=")
    ]
    assert SECRET not in line
    assert ("***@host/path?***" in line) == (SECRET in repr(value))


def test_nothing_that_is_said_of_engines_shows_what_their_addresses_hold(
    tmp_path, monkeypatch, capsys
):
    engine = {
        "url": f"http://user:{SECRET}@engine:8000?{SECRET}",
        "digest": DIGEST,
        "api_key_file": str(tmp_path / "key"),
    }
    monkeypatch.setenv("AIRLOCK_ENGINES", json.dumps([engine, engine]))
    for silent in (True, False):
        monkeypatch.setenv("AIRLOCK_REQUIRE_ATTESTATION", str(silent).lower())
        assert check(tmp_path) == 1
        assert main(["--home", str(tmp_path), "config", "show"]) == (2 if silent else 0)
        said = capsys.readouterr()
        assert SECRET not in said.out + said.err
        assert ("engines.0, engines.1" in said.out) == silent


def test_the_page_is_current():
    assert (ROOT / "docs/settings.md").read_text() == settings_page(), (
        "airlock config page --to docs/settings.md"
    )


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_says_what_it_means(name):
    assert Settings.model_fields[name].description


def test_every_list_of_settings_has_its_table():
    """What a list's entries hold is documented as settings are."""
    nested = {
        f"AIRLOCK_{name.upper()}": entry
        for name, field in Settings.model_fields.items()
        for entry in get_args(field.annotation)
        if isinstance(entry, type) and issubclass(entry, BaseModel)
    }
    assert {name: entry for name, _, entry in NESTED} == nested
    for entry in nested.values():
        assert all(field.description for field in entry.model_fields.values()), entry
