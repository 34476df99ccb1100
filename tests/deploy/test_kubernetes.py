"""deploy/kubernetes/: the manifests' schemas, who reaches whom, and what each pod may do."""

import itertools
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.cli import build_parser, requested_verb
from gateway.controlplane.routers import ROUTERS
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
OLDEST, NEWEST = "1.30", "1.34"
"""The versions that docs/kubernetes.md names."""
Manifest = dict[str, Any]
COMPONENT = "app.kubernetes.io/component"
FOREIGN = {"kustomize.config.k8s.io", "monitoring.coreos.com", "gateway.networking.k8s.io"}
"""Groups whose schemas come with what serves them, not with Kubernetes."""
PROXIED = set(
    re.findall(r"location =? ?(/[a-z0-9/.-]*) {", (ROOT / "deploy/nginx/nginx.conf").read_text())
)
"""The paths that the proxy of the Compose stack passes on, whole or as their beginning."""
KUBECTL = shutil.which("kubectl")


def manifests(folder: Path) -> list[Manifest]:
    return [
        found
        for path in sorted(folder.rglob("*.yaml"))
        for found in yaml.safe_load_all(path.read_text())
        if "kind" in found
    ]


BASE = [each for each in manifests(FOLDER / "base") if each["kind"] != "Kustomization"]
(WAY_OUT,) = [e for e in manifests(FOLDER / "way-out") if e["kind"] == "NetworkPolicy"]
EXTRAS = [WAY_OUT, *(e for e in manifests(FOLDER / "backup") if e["kind"] != "Component")]
WORKLOADS = [
    each
    for each in [*BASE, *EXTRAS]
    if each["kind"] in ("Deployment", "StatefulSet", "Job", "CronJob")
]
POLICIES = [each for each in BASE if each["kind"] == "NetworkPolicy"]
ENGINES = [each for each in WORKLOADS if each["metadata"]["name"].startswith("engine-")]


def name(manifest: Manifest) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def template(workload: Manifest) -> Manifest:
    spec = workload["spec"]
    found: Manifest = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]
    return found


def pod(workload: Manifest) -> Manifest:
    found: Manifest = template(workload)["spec"]
    return found


def labels(workload: Manifest) -> dict[str, str]:
    found: dict[str, str] = template(workload)["metadata"]["labels"]
    return found


def containers(workload: Manifest) -> list[Manifest]:
    return [*pod(workload).get("initContainers", ()), *pod(workload)["containers"]]


def selects(selector: Manifest, given: dict[str, str]) -> bool:
    """Whether a label selector, of the kinds that stand in these files, selects a pod."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    wanted = selector.get("matchLabels", {}).items()
    if not all(given.get(key) == value for key, value in wanted):
        return False
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In"
        if given.get(rule["key"]) not in rule["values"]:
            return False
    return True


def rules(workload: Manifest, direction: str) -> list[Manifest]:
    """What may come to, or go from, a workload's pods."""
    found = []
    for policy in POLICIES:
        spec = policy["spec"]
        if direction in spec["policyTypes"] and selects(spec["podSelector"], labels(workload)):
            found += spec.get(direction.lower(), [])
    return found


def peers(workload: Manifest, direction: str) -> Iterator[Manifest]:
    for rule in rules(workload, direction):
        side = rule.get("from" if direction == "Ingress" else "to")
        assert side, f"{name(workload)}: a rule without peers lets everybody in or out"
        assert rule.get("ports"), f"{name(workload)}: a rule without ports opens all"
        yield from side


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("manifest", [*BASE, *EXTRAS], ids=name)
def test_it_fits_kubernetes_own_schema(manifest: Manifest, version: str):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_wrong_field_would_be_found():
    broken = {**WORKLOADS[0], "spce": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, OLDEST, strict=True)


def test_every_file_is_used_and_every_kind_is_known():
    for folder in ("base", "monitoring", "routes", "way-out", "backup"):
        listed = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())["resources"]
        there = {path.name for path in (FOLDER / folder).glob("*.yaml")}
        assert set(listed) == there - {"kustomization.yaml", "adapter-values.yaml"}, folder
    for manifest in manifests(FOLDER):
        group = manifest["apiVersion"].partition("/")[0]
        assert manifest in [*BASE, *EXTRAS] or group in FOREIGN, name(manifest)


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: overlays are not built")
def test_the_example_builds():
    done = subprocess.run(
        [str(KUBECTL), "kustomize", FOLDER / "example"], check=True, capture_output=True, text=True
    )
    built = [each for each in yaml.safe_load_all(done.stdout) if each]
    for manifest in built:
        if manifest["apiVersion"].partition("/")[0] not in FOREIGN:
            kubernetes_validate.validate(manifest, OLDEST, strict=True)
    assert {each["metadata"].get("namespace", "airlock") for each in built} == {"airlock"}
    (engine,) = [e for e in built if e["kind"] == "StatefulSet" and "unlearned" in name(e)]
    assert engine["spec"]["replicas"] == 3
    images = re.findall(r"image: (\S+)", done.stdout)
    assert all(image.startswith("registry.example.org/") for image in images)


def test_nothing_is_open_by_default():
    (policy,) = [each for each in POLICIES if not each["spec"]["podSelector"]]
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["spec"].keys() == {"podSelector", "policyTypes"}


@pytest.mark.parametrize("engine", ENGINES, ids=name)
def test_only_gateways_reach_an_engine_and_it_reaches_nothing(engine: Manifest):
    who = list(peers(engine, "Ingress"))
    assert who == [{"podSelector": {"matchLabels": {COMPONENT: "gateway"}}}]
    ports = {port["port"] for rule in rules(engine, "Ingress") for port in rule["ports"]}
    assert ports == {8000, 8001}
    assert rules(engine, "Egress") == []


def may_pass(source: str, target: str, port: int) -> bool:
    """Whether both ends' policies let a connection pass between two components of the namespace."""
    here, there = {COMPONENT: source}, {COMPONENT: target}
    for direction, mine, peer in (("Egress", here, there), ("Ingress", there, here)):
        allowed = [
            rule
            for policy in POLICIES
            if direction in policy["spec"]["policyTypes"]
            and selects(policy["spec"]["podSelector"], mine)
            for rule in policy["spec"].get(direction.lower(), [])
        ]
        if not any(
            selects(side["podSelector"], peer)
            for rule in allowed
            if port in {each["port"] for each in rule["ports"]}
            for side in rule["from" if direction == "Ingress" else "to"]
            if "namespaceSelector" not in side
        ):
            return False
    return True


def test_who_reaches_whom_by_the_policies_of_both_ends():
    """A policy that lets one end send is worth nothing where the other end may not be reached."""
    ports = {"engine": (8000, 8001), "witness": (8300,), "redis": (6379,), "postgres": (5432,)}
    wanted = {("gateway", target, port) for target, each in ports.items() for port in each}
    wanted |= {(source, "postgres", 5432) for source in ("migrate", "backup")}
    components = {*ports, "gateway", "migrate", "backup"}
    assert {labels(workload)[COMPONENT] for workload in WORKLOADS} < components
    every = {port for each in ports.values() for port in each}
    pairs = itertools.product(components, components, every)
    assert {flow for flow in pairs if may_pass(*flow)} == wanted


def test_gateways_reach_what_they_need_and_no_more():
    (gateway,) = [each for each in WORKLOADS if name(each) == "Deployment-gateway"]
    reached = set()
    for peer in peers(gateway, "Egress"):
        assert "ipBlock" not in peer
        if "namespaceSelector" in peer:
            assert peer["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}
        else:
            reached.add(peer["podSelector"]["matchLabels"][COMPONENT])
    assert reached == {"engine", "witness", "redis", "postgres"}
    (entry,) = peers(gateway, "Ingress")
    assert entry == {"namespaceSelector": {"matchLabels": {"airlock.dev/reaches-gateways": "true"}}}


def test_a_way_out_is_the_gateways_alone_and_leads_to_no_private_address():
    assert WAY_OUT["spec"]["podSelector"] == {"matchLabels": {COMPONENT: "gateway"}}
    assert WAY_OUT["spec"]["policyTypes"] == ["Egress"]
    (rule,) = WAY_OUT["spec"]["egress"]
    block = ip_network(rule["to"][0]["ipBlock"]["cidr"])
    inside = [ip_network(each) for each in rule["to"][0]["ipBlock"]["except"]]
    for address in ("10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"):
        assert ip_address(address) in block
        assert any(ip_address(address) in each for each in inside), address


def test_the_witness_and_the_migration_are_alone():
    (witness,) = [each for each in WORKLOADS if name(each) == "StatefulSet-witness"]
    assert rules(witness, "Egress") == []
    (job,) = [each for each in WORKLOADS if each["kind"] == "Job"]
    assert rules(job, "Ingress") == []
    assert pod(witness)["securityContext"]["runAsUser"] != 10001


def test_no_service_leads_out_of_the_cluster():
    services = [each for each in BASE if each["kind"] == "Service"]
    assert len(services) == 4
    for service in services:
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP", name(service)
        headless = service["spec"].get("clusterIP") == "None"
        assert headless == service["metadata"]["name"].startswith("engine-")


@pytest.mark.parametrize("workload", WORKLOADS, ids=name)
def test_every_pod_is_hardened(workload: Manifest):
    spec = pod(workload)
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 10000
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & spec.keys()
    assert all("hostPath" not in volume for volume in spec["volumes"])
    for container in containers(workload):
        rights = container["securityContext"]
        assert rights == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        resources = container["resources"]
        assert resources["requests"].keys() >= {"cpu", "memory"}
        assert resources["limits"].keys() >= {"cpu", "memory"}
        assert "hostPort" not in str(container)
        assert re.fullmatch(r"airlock/[a-z-]+:\d+\.\d+\.\d+", container["image"])


@pytest.mark.parametrize("workload", WORKLOADS, ids=name)
def test_every_pod_that_stays_is_probed(workload: Manifest):
    if workload["kind"] not in ("Job", "CronJob"):
        for container in pod(workload)["containers"]:
            assert {"readinessProbe", "livenessProbe"} <= container.keys()
            # What depends on engines may take no gateway out of service.
            assert "/readyz" not in str(container)


@pytest.mark.parametrize("engine", ENGINES, ids=name)
def test_an_engine_that_its_launcher_starts_anew_is_left_alone(engine: Manifest):
    """The launcher hashes before every start, longer than a probe would wait."""
    (container,) = containers(engine)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert container["livenessProbe"]["tcpSocket"] == {"port": "attest"}
    words = build_parser("engine").parse_args(container["args"])
    assert ports == {"http": words.port, "attest": words.attest_port}
    # It gets no request meanwhile.
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": "http"}


@pytest.mark.parametrize("workload", WORKLOADS, ids=name)
def test_every_command_parses_and_every_secret_is_a_file(workload: Manifest):
    for container in containers(workload):
        if "command" in container:
            said = [line for line in container["args"][0].splitlines() if "airlock" in line]
        else:
            said = ["airlock " + shlex.join(container["args"])]
        for line in said:
            program, *words = shlex.split(line)
            assert program == "airlock"
            build_parser(requested_verb(words)).parse_args(words)
        for variable in container.get("env", ()):
            assert "valueFrom" not in variable, "a secret in an environment"
            assert not re.search("PASSWORD|SECRET|_KEY$", variable["name"])
    for volume in pod(workload)["volumes"]:
        for kind in ("secret", "projected"):
            if kind in volume:
                assert volume[kind]["defaultMode"] == 0o440


@pytest.mark.parametrize("workload", WORKLOADS, ids=name)
def test_nothing_writes_the_store_or_the_trust_store(workload: Manifest):
    for container in containers(workload):
        for mount in container["volumeMounts"]:
            if (name(workload), mount["name"]) == ("CronJob-restore", "store"):
                continue  # To put back is to write; it runs when somebody makes a job from it.
            if mount["name"] in ("store", "trust", "settings", "secrets", "keys", "engine-keys"):
                assert mount["readOnly"] is True, f"{name(workload)}: {mount['name']}"


@pytest.mark.parametrize("engine", ENGINES, ids=name)
def test_each_engine_has_its_own_keys_and_no_other_secret(engine: Manifest):
    door = labels(engine)["airlock.dev/door"]
    sources = [v["projected"]["sources"] for v in pod(engine)["volumes"] if "projected" in v]
    assert sources == [
        [
            {"secret": {"name": f"engine-{door}-key"}},
            {"secret": {"name": f"engine-{door}-attest-key"}},
        ]
    ]
    assert not [volume for volume in pod(engine)["volumes"] if "secret" in volume]
    assert f"smollm2:{door}" in pod(engine)["containers"][0]["args"]


@pytest.mark.parametrize("place", ["base", "example"])
def test_the_settings_are_understood_and_fit_the_services(
    place: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AIRLOCK_CONFIG_FILE", str(FOLDER / place / "airlock.toml"))
    settings = Settings()
    assert not settings.is_embedded
    services = {each["metadata"]["name"] for each in BASE if each["kind"] == "Service"}
    for engine in settings.engines:
        host = engine.url.removeprefix("http://").removesuffix(":8000")
        assert engine.attest_url == f"http://{host}:8001"
        replica, service = host.split(".")
        assert service in services
        assert re.fullmatch(rf"{service}-\d+", replica)
        assert engine.api_key_file.name == f"{service.replace('-', '_')}_key"
        assert engine.digest == "sha256:" + "0" * 64, "it must match no engine"
    (gateway,) = [each for each in WORKLOADS if name(each) == "Deployment-gateway"]
    stop = pod(gateway)["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(gateway)["terminationGracePeriodSeconds"] > settings.drain_seconds + stop
    mounts = {m["mountPath"] for c in containers(gateway) for m in c["volumeMounts"]}
    for path in (settings.secret_file, settings.database_password_file, settings.files_folder):
        assert path is not None
        assert any(str(path).startswith(mount) for mount in mounts)


def test_what_the_example_shows_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    shown = (FOLDER / "example" / "airlock.toml").read_text()
    file = tmp_path / "airlock.toml"
    file.write_text(re.sub(r"^# (\w+ = )", r"\1", shown, flags=re.MULTILINE))
    monkeypatch.setenv("AIRLOCK_CONFIG_FILE", str(file))
    settings = Settings()
    assert [str(network) for network in settings.trusted_proxies] == ["10.42.0.0/16"]
    assert settings.audit_witness_url == "http://witness:8300"


def test_the_gateways_scale_by_what_the_gateway_measures():
    from gateway.metrics import Metrics

    known = {family.name for family in Metrics("0").registry.collect()}
    (scaler,) = [each for each in BASE if each["kind"] == "HorizontalPodAutoscaler"]
    metric = next(m["pods"]["metric"]["name"] for m in scaler["spec"]["metrics"] if "pods" in m)
    assert metric in known
    assert metric in (FOLDER / "monitoring" / "adapter-values.yaml").read_text()
    assert scaler["spec"]["minReplicas"] >= 2
    (gateway,) = [each for each in WORKLOADS if name(each) == "Deployment-gateway"]
    assert "replicas" not in gateway["spec"], "the autoscaler's number would be undone"
    assert gateway["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budgets = {e["metadata"]["name"] for e in BASE if e["kind"] == "PodDisruptionBudget"}
    assert budgets == {"gateway", "engine-base", "engine-unlearned"}


def cron(which: str) -> Manifest:
    (found,) = [each for each in EXTRAS if name(each) == f"CronJob-{which}"]
    return found


@pytest.mark.parametrize("reads", [True, False])
def test_old_backups_end_once_a_newer_one_could_be_read(tmp_path: Path, reads: bool):
    backups, programs = tmp_path / "backups", tmp_path / "bin"
    for folder, days in (("old", 15), ("young", 13)):
        (backups / folder).mkdir(parents=True)
        (backups / folder / "manifest.json").touch(mode=0o400)
        then = time.time() - days * 86_400
        os.utime(backups / folder, (then, then))
    programs.mkdir()
    airlock = programs / "airlock"
    airlock.write_text(f'#!/bin/sh\n[ "$1" = backup ] && mkdir "$3" || exit {int(not reads)}\n')
    airlock.chmod(0o755)
    (container,) = containers(cron("backup"))
    script = container["args"][0].replace("/backups", str(backups))
    done = subprocess.run(
        [*container["command"], script],
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        check=False,
    )
    assert (done.returncode == 0) == reads
    left = {path.name for path in backups.iterdir()}
    assert left >= ({"young"} if reads else {"young", "old"})
    assert len(left) == (2 if reads else 3)


def test_a_restore_runs_by_hand_alone_and_sees_all_that_it_puts_back():
    restore = cron("restore")
    assert restore["spec"]["suspend"] is True
    (container,) = containers(restore)
    mounts = {m["name"]: m for m in container["volumeMounts"]}
    # The files hold the highest version that was seen, above which a restore raises the version.
    assert not any("readOnly" in mounts[name] for name in ("store", "files", "backups"))
    (made,) = containers(cron("backup"))
    assert container["env"] == made["env"]
    assert container["image"] == made["image"]


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: overlays are not built")
def test_prometheus_gets_the_token_that_the_gateways_ask_for(tmp_path: Path):
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    overlay = tmp_path / "deploy/kubernetes/example/kustomization.yaml"
    text = overlay.read_text().replace("../monitoring,", "../monitoring, ../metrics-token,")
    overlay.write_text(text)
    built = [
        each
        for each in yaml.safe_load_all(
            subprocess.run(
                [str(KUBECTL), "kustomize", overlay.parent], check=True, capture_output=True
            ).stdout
        )
        if name(each) in ("Deployment-gateway", "PodMonitor-gateway")
    ]
    (gateway,) = [each for each in built if each["kind"] == "Deployment"]
    (monitor,) = [each for each in built if each["kind"] == "PodMonitor"]
    kubernetes_validate.validate(gateway, OLDEST, strict=True)
    (volume,) = [v for v in pod(gateway)["volumes"] if v["name"] == "metrics-token"]
    for container in containers(gateway):
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == volume["name"]]
        (variable,) = [e for e in container["env"] if e["name"] == "AIRLOCK_METRICS_TOKEN_FILE"]
        assert variable["value"] == f"{mount['mountPath']}/metrics_token"
    endpoints = monitor["spec"]["podMetricsEndpoints"]
    assert {each["path"] for each in endpoints} == {"/metrics", "/metrics/engines"}
    given = {"name": volume["secret"]["secretName"], "key": "metrics_token"}
    assert [each["authorization"]["credentials"] for each in endpoints] == [given] * 2
    assert "create secret generic metrics-token --from-file=deploy/secrets/metrics_token" in PAGE


def test_the_probe_of_policies_asks_for_what_is_there_before_and_after_them(tmp_path: Path):
    """Without the first one, nothing shows that it could connect at all."""
    log, kubectl = tmp_path / "log", tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word"; done >> {log}\n')
    kubectl.chmod(0o755)
    (tmp_path / "sleep").symlink_to("/bin/true")
    step = PAGE.split("**1. Does the cluster")[1].split("**2. ")[0]
    (block,) = re.findall(r"^```sh\n(.*?)^```", step, re.MULTILINE | re.DOTALL)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "KUBERNETES_SERVICE_HOST": "wrong"}
    subprocess.run(["/bin/sh", "-euc", block], env=environment, check=True)
    words = log.read_text().splitlines()
    steps = [word for word in words if word.endswith(".yaml") or word.startswith("--overrides=")]
    first, probe, second, again = steps
    assert (first, second) == tuple(
        f"deploy/kubernetes/base/{file}.yaml" for file in ("namespace", "network")
    )
    assert probe == again
    overrides = json.loads(probe.removeprefix("--overrides="))
    (container,) = overrides["spec"]["containers"]
    # The API's service listens on 443 alone, and its address is a variable of every pod.
    assert "nc -w 3 -z $KUBERNETES_SERVICE_HOST 443 " in container["args"][-1]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, **overrides}
    kubernetes_validate.validate(pod, OLDEST, strict=True)
    for answer, said in (("true", "open"), ("false", "closed")):
        nc = tmp_path / "nc"
        nc.unlink(missing_ok=True)
        nc.symlink_to(f"/bin/{answer}")
        done = subprocess.run(container["args"], env=environment, check=True, capture_output=True)
        assert done.stdout.decode().strip() == said


def test_the_page_makes_the_claims_before_anything_waits_for_them():
    (chosen,) = re.findall(r"apply -k \S+ --selector (\S+)", PAGE)
    key, _, value = chosen.partition("=")
    labelled = {e["metadata"]["name"] for e in BASE if key in e["metadata"].get("labels", {})}
    assert labelled >= {"store", "gateway"}
    assert {name(e) for e in BASE if e["metadata"].get("labels", {}).get(key) == value} == {
        "PersistentVolumeClaim-store",
        "PersistentVolumeClaim-files",
    }


def test_the_routes_lead_to_the_same_paths_as_the_proxy():
    wanted = PROXIED - {"/readyz", "/proxy-healthz", "/v1/files", "/admin/v1/people-import"}
    routed = {
        match["path"]["value"]
        for route in manifests(FOLDER / "routes")
        if route["kind"] == "HTTPRoute"
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    }
    assert routed == wanted
    assert "retry" not in str(
        [r["spec"] for r in manifests(FOLDER / "routes") if r["kind"] == "HTTPRoute"]
    )


def test_what_the_gateway_answers_can_be_reached_from_outside():
    """Mails hold addresses of pages, and others fetch the key of visas."""
    exact = {"/", "/logout", "/visas/jwks.json"}
    assert exact < PROXIED
    begun = tuple(PROXIED - exact)
    paths = {route.path for router in ROUTERS for route in router.routes}
    assert {path for path in paths - exact if not path.startswith(begun)} == set()


def test_the_arithmetic_is_that_of_what_was_measured():
    measured = re.search(
        r"^\| Airlock \| (\d+) \| (\d+) \| (\d+) \|", (ROOT / "docs/api.md").read_text(), re.M
    )
    said = re.search(
        r"a request costs a gateway (\d+) µs of CPU and an event of a stream (\d+) µs; "
        r"a gateway takes (\d+) MB, and an open stream (\d+) kB",
        PAGE,
    )
    assert measured
    assert said
    request, event, memory, stream = map(int, said.groups())
    assert (request, event, memory) == tuple(map(int, measured.groups()))
    rows = dict(re.findall(r"^\| ([^|]+?) \| [^|]+ \| ([^|]+ \| [^|]+ \| [^|]+) \|$", PAGE, re.M))
    for column, rate in enumerate((100, 1_000, 10_000)):
        cores = rate * (request + 100 * event) / 1e6
        gateways = max(3, math.ceil(cores / 0.6))
        gigabytes = (gateways * memory + rate * 2.5 * stream / 1000) / 1000
        for row, wanted in (
            ("cores, no streams", rate * request / 1e6),
            ("cores, streams of 100 events", cores),
            ("gateways W", gateways),
            ("open streams, T = 2.5 s", rate * 2.5),
            ("memory of all gateways", gigabytes),
            ("engines at 256 requests each", math.ceil(rate * 2.5 / 256)),
        ):
            shown = rows[row].split(" | ")[column].removesuffix(" GB").replace(",", "")
            # As far as it is written out.
            digits = len(shown.partition(".")[2])
            assert float(shown) == round(wanted, digits), (row, rate)
