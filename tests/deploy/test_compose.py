"""docker-compose.yml: its schema, who reaches whom, what each service may do and is told."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli import build_parser, requested_verb
from gateway.setting_file import CONFIG_FILE
from gateway.settings import Settings
from tests.deploy.conftest import PINNED

ROOT = Path(__file__).resolve().parents[2]
Services = dict[str, dict[str, Any]]
ENGINES = {"engine-base", "engine-base-gpu", "engine-unlearned", "engine-unlearned-gpu"}
JOBS = {"job", "job-gpu"}
BY_HAND = {"fetch", "trust", "backup"} | JOBS
GATEWAYS = {"gateway", "gateway-2"}
OWN_IMAGES = {"migrate", "witness"} | BY_HAND | GATEWAYS | ENGINES
BOUGHT_IN = {"postgres", "redis", "proxy", "prometheus", "alertmanager", "grafana"}
READ_ONLY = ["store:/var/lib/airlock/store:ro", "trust:/var/lib/airlock/trust:ro"]


def members(services: Services, network: str) -> set[str]:
    return {name for name, service in services.items() if network in service.get("networks", ())}


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = service.get("environment", {})
    return found


def test_it_has_every_part(services: Services):
    assert services.keys() == OWN_IMAGES | BOUGHT_IN


def test_it_fits_the_compose_specification(root: Path):
    check = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [check, "--builtin-schema", "vendor.compose-spec", root / "docker-compose.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["login", "postgres-pitr", "way-out"])
def test_an_override_fits_the_specification(root: Path, name: str):
    override = root / "deploy" / f"{name}.yml"
    check = Path(sys.executable).with_name("check-jsonschema")
    command = [check, "--builtin-schema", "vendor.compose-spec", override]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_only_the_gateways_share_a_network_with_an_engine(compose: dict[str, Any]):
    services = compose["services"]
    for engine in ENGINES:
        assert services[engine]["networks"]
        for network in services[engine]["networks"]:
            twins = {engine.removesuffix("-gpu"), engine.removesuffix("-gpu") + "-gpu"}
            assert members(services, network) == GATEWAYS | twins
            assert compose["networks"][network] == {"internal": True}


def test_a_way_out_is_the_gateways_alone(compose: dict[str, Any], root: Path):
    override = yaml.safe_load((root / "deploy" / "way-out.yml").read_text())
    assert override["services"] == {name: {"networks": ["way-out"]} for name in GATEWAYS}
    assert not override["networks"].keys() & compose["networks"].keys()


def test_a_clients_secret_is_the_gateways_alone(compose: dict[str, Any], root: Path):
    override = yaml.safe_load((root / "deploy" / "login.yml").read_text())
    assert override["services"] == {name: {"secrets": ["issuer_client"]} for name in GATEWAYS}
    assert override["secrets"].keys() == {"issuer_client"}
    assert not override["secrets"].keys() & compose["secrets"].keys()
    assert (
        'client_secret_file = "/run/secrets/issuer_client"'
        in (root / "deploy" / "settings" / "airlock.toml").read_text()
    )


def test_the_gateways_are_the_same_but_for_their_names(services: Services):
    assert services["gateway"] == services["gateway-2"]
    text = (ROOT / "deploy/nginx/upstream.conf").read_text()
    assert set(re.findall(r"server (\S+):8000 ", text)) == GATEWAYS


def test_whoever_comes_from_outside_comes_through_the_proxy(compose: dict[str, Any]):
    services = compose["services"]
    assert members(services, "front") == GATEWAYS | {"proxy"}
    assert members(services, "edge") == {"proxy"}
    front = compose["networks"]["front"]
    assert front["internal"] is True
    (place,) = front["ipam"]["config"]
    for name in GATEWAYS:
        trusted = json.loads(services[name]["environment"]["AIRLOCK_TRUSTED_PROXIES"])
        assert trusted == [place["subnet"]], "nobody else writes X-Forwarded-For"
    assert set(services["proxy"]["networks"]) == {"edge", "front"}
    assert "secrets" not in services["proxy"]


def test_the_witness_shares_nothing_with_the_gateways_but_a_network(compose: dict[str, Any]):
    witness, gateway = (compose["services"][name] for name in ("witness", "gateway"))
    assert members(compose["services"], "witness") == GATEWAYS | {"witness"}
    assert compose["networks"]["witness"] == {"internal": True}
    assert witness["networks"] == ["witness"]
    assert witness["user"] not in {gateway["user"], "0:0"}
    assert not set(witness["volumes"]) & set(gateway["volumes"])
    assert "secrets" not in witness
    args = build_parser("audit").parse_args(witness["command"])
    url = (ROOT / "docker-compose.yml").read_text()
    assert f":+http://witness:{args.port}}}" in url


def test_the_gpu_engines_answer_to_the_names_of_their_cpu_twins(services: Services):
    for name in ("engine-base", "engine-unlearned"):
        assert services[f"{name}-gpu"]["networks"] == {name: {"aliases": [name]}}
        assert services[name]["profiles"] == ["cpu"]
        assert services[f"{name}-gpu"]["profiles"] == ["gpu"]


def test_only_the_proxy_and_grafana_are_published_and_on_loopback(services: Services):
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published.keys() == {"proxy", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_nothing_but_the_download_and_the_alerts_reach_out(compose: dict[str, Any]):
    open_networks = {
        name
        for name, network in compose["networks"].items()
        if not network.get("internal")
        and network.get("driver_opts", {}).get("com.docker.network.bridge.enable_ip_masquerade")
        != "false"
    }
    assert open_networks == {"egress", "alerts"}
    services = compose["services"]
    assert members(services, "egress") == {"fetch"}
    assert members(services, "alerts") == {"alertmanager"}
    assert set(services["alertmanager"]["networks"]) == {"alerts", "monitoring"}
    assert all(services[name]["network_mode"] == "none" for name in JOBS | {"trust"})
    # A service without a list of networks would join the default one, which is open.
    assert all(
        "networks" in service for name, service in services.items() if name not in JOBS | {"trust"}
    )


def test_the_job_can_run_the_engines_that_it_measures_with(services: Services):
    """It has what an engine's container has: places to write, memory to share, no binding."""
    for job, engine in (("job", "engine-unlearned"), ("job-gpu", "engine-unlearned-gpu")):
        for part in ("tmpfs", "shm_size", "user"):
            assert services[job][part] == services[engine][part], part
        reserved = "reservations" in services[engine]["deploy"]["resources"]
        assert ("reservations" in services[job]["deploy"]["resources"]) == reserved
        pids = [services[name]["deploy"]["resources"]["limits"]["pids"] for name in (job, engine)]
        assert pids[0] >= 2 * pids[1], "base and candidate at once"
    bound = services["engine-unlearned"]["environment"]["VLLM_CPU_OMP_THREADS_BIND"]
    assert services["job"]["environment"]["VLLM_CPU_OMP_THREADS_BIND"] == bound


def test_every_service_is_hardened(services: Services):
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert not service.get("cap_add"), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        user = service["user"].split(":")[0]
        assert user.isdecimal(), name
        assert int(user) > 0, name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name


def test_every_service_has_limits_and_a_restart_policy(services: Services):
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"memory", "pids"} <= limits.keys(), name
        expected = {"migrate": "on-failure:5"} | dict.fromkeys(BY_HAND, "no")
        assert service["restart"] == expected.get(name, "unless-stopped"), name


def test_who_holds_connections_may_open_as_many_files(services: Services):
    most = 2 * Settings.model_fields["max_open_requests"].default
    assert all(services[name]["ulimits"]["nofile"] > most for name in GATEWAYS)
    (each,) = re.findall(
        r"worker_connections (\d+);", (ROOT / "deploy/nginx/nginx.conf").read_text()
    )
    assert services["proxy"]["ulimits"]["nofile"] > int(each)


def test_every_service_that_stays_up_has_a_health_check(services: Services, root: Path):
    for name, service in services.items():
        if service["restart"] != "unless-stopped":
            continue
        dockerfile = service.get("build", {}).get("dockerfile")
        from_image = dockerfile and "HEALTHCHECK --interval" in (root / dockerfile).read_text()
        assert "healthcheck" in service or from_image, name


def test_every_file_that_is_mounted_is_there_and_read_only(services: Services, root: Path):
    mounts = [
        mount.split(":")
        for service in services.values()
        for mount in service.get("volumes", ())
        if mount.startswith("./") and not mount.endswith(":/backups")
    ]
    assert mounts
    for source, _, mode in mounts:
        assert mode == "ro", source
        assert (root / source).exists(), source


def test_our_images_have_the_versions_of_the_code_and_its_lock(services: Services):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    files = [ROOT / "docker-compose.yml", *sorted((ROOT / "deploy/kubernetes").rglob("*.yaml"))]
    tags = re.findall(
        r"airlock/[a-z-]+(?::|, newTag: )(\d[\w.]*)", "".join(map(Path.read_text, files))
    )
    assert len(tags) > 12
    assert set(tags) == {version}


def test_every_image_is_pinned(services: Services):
    for name, service in services.items():
        assert PINNED.match(service["image"]), f"{name}: {service['image']}"


def test_the_store_is_writable_for_the_job_alone(services: Services):
    writers = {
        name
        for name, service in services.items()
        if "store:/var/lib/airlock/store" in service.get("volumes", ())
    }
    assert writers == {"fetch", "backup"} | JOBS
    assert services["backup"]["networks"] == ["data"], "it reaches the database alone"
    # What callers upload is the gateway's own, and no engine's nor job's.
    assert services["gateway"]["volumes"] == [
        *READ_ONLY,
        "files:/var/lib/airlock/files",
        "./deploy/settings:/etc/airlock:ro",
    ]
    assert {n for n, s in services.items() if "files:" in str(s.get("volumes"))} == (
        GATEWAYS | {"backup"}
    )
    for name in ENGINES:
        # What a launcher has seen of releases outlives its container, and is no other engine's.
        seen = f"seen-{name.removeprefix('engine-').removesuffix('-gpu')}:/var/lib/airlock/seen"
        assert services[name]["volumes"] == [*READ_ONLY, seen]


def test_who_writes_checkpoints_does_not_say_who_approves_them(services: Services):
    writers = {
        name
        for name, service in services.items()
        if "trust:/var/lib/airlock/trust" in service.get("volumes", ())
    }
    assert writers == {"trust", "backup"}, "who puts back what was there, once, by hand"
    assert {name for name in writers if not services[name].get("profiles")} == set()
    assert services["trust"]["volumes"] == ["trust:/var/lib/airlock/trust"]
    assert services["trust"]["network_mode"] == "none"


def test_secrets_are_files_that_the_script_makes(
    compose: dict[str, Any], root: Path, tmp_path: Path
):
    script = root / "deploy" / "make-secrets.sh"
    subprocess.run([script, tmp_path / "secrets"], check=True, capture_output=True)
    made = {path.name for path in (tmp_path / "secrets").iterdir()}
    assert {
        name: secret["file"].removeprefix("./deploy/secrets/")
        for name, secret in compose["secrets"].items()
    } == {name: name for name in made}


def configuration(service: dict[str, Any]) -> str:
    """What stands in the files that a service is given, which may name secrets too."""
    given = [v.split(":")[0] for v in service.get("volumes", ()) if v.startswith("./deploy/")]
    files = [path for each in given for path in (ROOT / each).rglob("*") if path.is_file()]
    return "".join(path.read_text() for path in files if path.suffix in (".yml", ".conf"))


def test_whoever_has_the_gateways_secret_reads_the_gateways_settings(services: Services):
    """Signed under another audit_origin, a backup says that its log was written anew."""
    holders = [name for name, s in services.items() if "gateway_secret" in s.get("secrets", ())]
    assert set(holders) == GATEWAYS | {"backup"}
    settings = services["gateway"]["environment"]["AIRLOCK_CONFIG_FILE"]
    for name in holders:
        assert services[name]["environment"]["AIRLOCK_CONFIG_FILE"] == settings, name
        assert "./deploy/settings:/etc/airlock:ro" in services[name]["volumes"], name


def test_every_secret_that_is_read_is_mounted(services: Services):
    for name, service in services.items():
        text = json.dumps([service.get(key) for key in ("environment", "command", "healthcheck")])
        text += configuration(service)
        read = set(re.findall(r"/run/secrets/(\w+)", text))
        assert read == set(service.get("secrets", ())), name


def test_each_engine_gets_its_own_key_and_no_other_secret(services: Services):
    for name in ENGINES:
        door = name.removesuffix("-gpu").replace("-", "_")
        assert services[name]["secrets"] == [f"{door}_key", f"{door}_attest_key"]


def test_no_secret_stands_in_an_environment(services: Services):
    for name, service in services.items():
        for variable, value in environment_of(service).items():
            secret = re.search(r"PASSWORD|SECRET|(?<!WITNESS_)KEY", variable)
            assert not secret or value.startswith("/run/secrets/"), f"{name}: {variable}"
        assert not re.search(r"://\w+:[^@/]+@", json.dumps(service)), f"{name}: password in a URL"


def test_every_airlock_variable_is_a_setting(root: Path):
    files = [root / "docker-compose.yml", *sorted((root / "deploy").glob("*.Dockerfile"))]
    known = {f"AIRLOCK_{field.upper()}" for field in Settings.model_fields} | {CONFIG_FILE}
    used = {name for file in files for name in re.findall(r"\bAIRLOCK_[A-Z_]+", file.read_text())}
    assert used <= known
    assert {"AIRLOCK_ENGINES", "AIRLOCK_SECRET_FILE", "AIRLOCK_DATABASE_URL"} <= used


def test_the_gateway_understands_its_environment(
    services: Services, monkeypatch: pytest.MonkeyPatch
):
    gateway = services["gateway"]
    for variable, value in environment_of(gateway).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AIRLOCK_CONFIG_FILE", str(ROOT / "deploy/settings/airlock.toml"))
    settings = Settings()
    assert not settings.is_embedded
    assert str(settings.secret_file) == "/run/secrets/gateway_secret"
    for engine, name in zip(settings.engines, ("engine-base", "engine-unlearned"), strict=True):
        assert engine.url == f"http://{name}:8000"
        # The side-car is on the engine's own network and port, and nowhere else.
        assert engine.attest_url == f"http://{name}:8001"
        assert "--attest-port=8001" in services[name]["command"]
        assert "--port=8000" in services[name]["command"]
        # Both ends read one file.
        assert f"--api-key-file={engine.api_key_file}" in services[name]["command"]
        assert engine.digest == "sha256:" + "0" * 64, "unset must match no engine"


def test_what_the_settings_file_shows_is_understood_as_it_is_meant(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    for variable, value in environment_of(services["gateway"]).items():
        monkeypatch.setenv(variable, value)
    shown = (ROOT / "deploy/settings/airlock.toml").read_text()
    file = tmp_path / "airlock.toml"
    file.write_text(re.sub(r"^# (\w+ = |\[\[)", r"\1", shown, flags=re.MULTILINE))
    monkeypatch.setenv("AIRLOCK_CONFIG_FILE", str(file))
    settings = Settings()
    assert settings.audit_witness_url == "https://witness.example.org"
    assert settings.public_url == "https://access.example.org"
    (issuer,) = settings.issuers
    assert issuer.client_secret_file == Path("/run/secrets/issuer_client")


@pytest.mark.parametrize("name", sorted(OWN_IMAGES))
def test_every_airlock_command_parses(services: Services, name: str):
    words = services[name]["command"]
    args = build_parser(requested_verb(words)).parse_args(words)
    assert args.verb == words[0]


def test_the_cpu_engines_share_the_processors(services: Services):
    for name in ("engine-base", "engine-unlearned"):
        words = services[name]["command"]
        args = build_parser("engine").parse_args(words)
        assert args.host == "0.0.0.0"
        assert args.engines_on_this_machine == 2


def test_who_runs_engines_alone_may_load_what_they_compile(services: Services):
    """Docker mounts a tmpfs with noexec, from which no library can be loaded."""
    loads = {
        name
        for name, service in services.items()
        if any("exec" in mount.split(":")[1].split(",") for mount in service.get("tmpfs", ()))
    }
    assert loads == ENGINES | JOBS
    for name in ENGINES | JOBS:
        assert services[name]["tmpfs"][1].startswith("/tmp:exec,")


def test_vllms_own_words_reach_vllm(services: Services):
    for name in ("engine-base-gpu", "engine-unlearned-gpu"):
        args = build_parser("engine").parse_args(services[name]["command"])
        assert args.extra == ["--gpu-memory-utilization=0.9"]


def test_the_example_environment_names_every_variable(root: Path):
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", (root / "docker-compose.yml").read_text()))
    example = (root / "deploy" / "env.example").read_text()
    named = set(re.findall(r"^#? ?([A-Z_]+)=", example, re.MULTILINE))
    assert used | {"COMPOSE_PROFILES", "COMPOSE_FILE"} == named


@pytest.mark.parametrize("reads", [True, False])
def test_a_backup_is_read_again_before_older_ones_end(tmp_path: Path, reads: bool):
    log, docker = tmp_path / "log", tmp_path / "docker"
    fails = "" if reads else 'case "$*" in *--verify*) exit 15;; esac\n'
    docker.write_text(f'#!/bin/sh\necho "$*" >> {log}\n{fails}')
    docker.chmod(0o755)
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy" / "backup.sh", tmp_path / "deploy" / "backup.sh")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([script], env=environment, check=False)
    assert done.returncode == (0 if reads else 15)
    made, read, *ended = log.read_text().splitlines()
    start = "compose run --rm -T backup "
    for line, verb in ((made, "backup"), (read, "restore")):
        words = line.removeprefix(start).split()
        args = build_parser(words[0]).parse_args(words)
        assert args.verb == verb
    assert made.split()[-1] == read.split()[-2]
    assert len(ended) == reads
    assert all("--entrypoint find backup /backups " in line for line in ended)
