"""docs/deploy.md: what it tells people to type exists, and its table says what the file does."""

import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.cli import build_parser, requested_verb
from models.trust import Role

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "deploy.md").read_text()
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
IN_CONTAINER = re.compile(
    r"^docker compose (?:run --rm (?:--\S+ )?(?:job|fetch|trust|gateway|engine-\w+)|"
    r"exec gateway airlock) (.+)$"
)
COMMANDS = [found[1] for line in LINES if (found := IN_CONTAINER.match(line))]
Services = dict[str, dict[str, Any]]


def test_there_are_commands():
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_every_airlock_command_parses(command: str):
    words = shlex.split(command)
    build_parser(requested_verb(words)).parse_args(words)


def test_who_must_sign_gets_a_key_before():
    trusted = PAGE.split("**2. Whose")[1].split("**3. ")[0]
    assert set(re.findall(r"--role (\w+)", trusted)) == set(get_args(Role)) - {"waiver"}
    signed = [
        line for line in LINES if re.search(r" job (?:evaluate|promote|rollback|revoke) ", line)
    ]
    assert len(signed) >= 8
    assert all("--key /keys/key.pem" in line for line in signed), signed


def test_every_service_that_is_named_exists(services: Services):
    named = set()
    for line in LINES:
        words = [word for word in shlex.split(line) if not word.startswith("--")]
        if words[:2] == ["docker", "compose"] and len(words) > 3:
            named.add(words[3])
    assert {"job", "fetch", "gateway"} <= named
    assert named <= services.keys()


def test_every_file_that_is_named_exists():
    root = Path(__file__).resolve().parents[2]
    for path in re.findall(r"(?:deploy|requirements|tests)/[\w./-]+", PAGE):
        if not path.startswith(("deploy/secrets", "deploy/nginx/tls/", "deploy/nginx/tls-people/")):
            assert (root / path).exists(), path


def test_every_secret_has_its_row(compose: dict[str, Any]):
    rotate = PAGE.split("## Rotate a secret")[1].split("\n## ")[0]
    assert set(re.findall(r"`([a-z_]+(?:_key|_secret|_password|_url))`", rotate)) == set(
        compose["secrets"]
    )


def test_the_table_names_every_service(services: Services):
    table = PAGE.split("## Who reaches what")[1].split("\n- ")[0]
    named = set(re.findall(r"[a-z0-9-]+", "\n".join(re.findall(r"^\| ([^|]+) \|", table, re.M))))
    assert {name.removesuffix("-gpu") for name in services} <= named
